"""The engine that runs submissions in a sandbox: sealed inputs go in, bytes come out, nothing is believed."""

from .contract import AGAIN, ALONE, Call, Cell, CellRun, Limits, Run, SandboxUnavailable, Trusted, case_of
from .engine import Engine
from .probe import probe

__all__ = [
    "AGAIN",
    "ALONE",
    "Call",
    "Cell",
    "CellRun",
    "Engine",
    "Limits",
    "Run",
    "SandboxUnavailable",
    "Trusted",
    "case_of",
    "probe",
]
