"""The public side of a lab on disk: ``drivers.py`` and ``cases/<exercise>.safetensors`` beside the notebook."""

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from ...substrate.errors import CourseProblem
from .driver import Driver, Outcome
from .tree import decode, encode
from .verdict import Case, Specification


class EditionError(CourseProblem):
    """A lab's public files are not where they should be, or are damaged."""


def outcome_to_tree(outcome: Outcome) -> dict[str, Any]:
    """An outcome without line and time, as a tree."""
    told = {"outputs": outcome.outputs, "problem": outcome.problem, "detail": outcome.detail}
    return {**told, "costs": dict(outcome.costs)}


def specification_to_tree(specification: Specification) -> dict[str, Any]:
    """Points, hints, and the cases with expected and mistaken outputs."""
    cases = [
        {
            "name": case.name,
            "aspect": case.aspect,
            "inputs": dict(case.inputs),
            "expected": case.expected,
            "misconceptions": {name: outcome_to_tree(o) for name, o in case.misconceptions.items()},
            "limits": dict(case.limits),
        }
        for case in specification.cases
    ]
    rest = {k: v for k, v in asdict(specification).items() if k != "cases" and (v or k != "allowed")}
    return {**rest, "cases": cases}


def specification_from_tree(tree: dict[str, Any]) -> Specification:
    """The inverse of ``specification_to_tree``."""
    cases = [
        Case(**{**case, "misconceptions": {name: Outcome(**o) for name, o in case["misconceptions"].items()}})
        for case in tree.pop("cases")
    ]
    return Specification(**tree, cases=cases)


def specification_to_bytes(specification: Specification) -> bytes:
    """What ships of an exercise, with its public cases."""
    return encode(specification_to_tree(specification))


def specification_from_bytes(blob: bytes) -> Specification:
    """The inverse of ``specification_to_bytes``."""
    return specification_from_tree(decode(blob))


def load_module(path: Path, name: str) -> ModuleType:
    """Import one file under a name of our own, whatever else is on ``sys.path``."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise EditionError(f"{path} is missing; copy it from the lab as you received it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_drivers(folder: Path) -> dict[str, Driver]:
    """The drivers of a lab by exercise."""
    module = load_module(folder / "drivers.py", f"mlsys_drivers_{folder.name}")
    return {value.name: value for value in vars(module).values() if isinstance(value, Driver)}


def load_specification(folder: Path, exercise: str) -> Specification:
    """What ships of one exercise."""
    path = folder / "cases" / f"{exercise}.safetensors"
    if not path.is_file():
        known = sorted(p.stem for p in (folder / "cases").glob("*.safetensors"))
        if known:
            raise EditionError(f"no exercise {exercise!r} in {folder.name}; it has {', '.join(known)}")
        raise EditionError(
            f"no cases/ in {folder}; open the notebook in its own folder, the one that holds drivers.py and cases/"
        )
    try:
        return specification_from_bytes(path.read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise EditionError(f"{path} is damaged ({error}); copy it from the lab as you received it") from None


def exercises_of(folder: Path) -> list[str]:
    """Ids of the exercises that a lab's folder holds, in no particular order."""
    return sorted(path.stem for path in (folder / "cases").glob("*.safetensors"))
