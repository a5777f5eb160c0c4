"""A graph compiler: tracing with guards, rewrites, merged products, fusion, a memory plan and an order for it."""

from .buffers import arena_bytes, last_uses, peak_bytes, plan_buffers
from .eliminate import eliminate
from .fuse import fuse_elementwise
from .jit import Jitted, jit
from .merge import merge_qkv
from .program import compiled, program, source_of
from .rewrite import Rule, rewrite
from .rules import RULES
from .schedule import order_for_memory
from .trace import trace

__all__ = [
    "RULES",
    "Jitted",
    "Rule",
    "arena_bytes",
    "compiled",
    "eliminate",
    "fuse_elementwise",
    "jit",
    "last_uses",
    "merge_qkv",
    "order_for_memory",
    "peak_bytes",
    "plan_buffers",
    "program",
    "rewrite",
    "source_of",
    "trace",
]
