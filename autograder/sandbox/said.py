"""What a sandbox says is only data: read here, word by word, into what the trusted side works with."""

import builtins
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mlsys_course.desk.check import Outcome, Specification, decode
from mlsys_course.desk.check.driver import accepts
from mlsys_course.desk.check.families import NAMES, policy
from mlsys_course.desk.check.outcome import NOT_WRITTEN, TWO_DEVICES
from mlsys_course.desk.check.tree import TreeError, leaves

from .contract import Cell
from .inside.snapshot import UNDEFINED

EXCEPTIONS = frozenset(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
)
MISSING = frozenset({NOT_WRITTEN, UNDEFINED, accepts(None)})
MOST_OUTPUTS = 2000
KEYS = {
    "stream": {"name": str, "text": str},
    "display_data": {"data": dict, "metadata": dict},
    "execute_result": {"data": dict, "metadata": dict, "execution_count": int},
    "error": {"ename": str, "evalue": str, "traceback": list},
}


def outputs(said: Any) -> list[dict[str, Any]]:
    """Those of a cell's outputs that have nbformat's shape; the rest is left out."""
    if not isinstance(said, list):
        return []
    found = []
    for output in said[:MOST_OUTPUTS]:
        kinds = KEYS.get(str(output.get("output_type"))) if isinstance(output, dict) else None
        if kinds is None or not all(isinstance(output.get(key), kind) for key, kind in kinds.items()):
            continue
        kept = {"output_type": output["output_type"], **{key: _writable(output[key]) for key in kinds}}
        if kept.get("name", "stdout") in ("stdout", "stderr") and _flat(kept.get("data", {})):
            kept["traceback"] = [str(line) for line in kept["traceback"]] if "traceback" in kept else []
            if not kept["traceback"] and kept["output_type"] != "error":
                del kept["traceback"]
            found.append(kept)
    return found


def _writable(value: Any) -> Any:
    """The same with what no file can hold, lone surrogates, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return [_writable(item) for item in value] if isinstance(value, list) else value


def _flat(data: Mapping[str, Any]) -> bool:
    """Text by MIME type; JSON types may carry more."""
    return all(isinstance(value, str) or key.endswith("json") for key, value in data.items())


def words(said: Any, most: int = 20, longest: int = 160) -> list[str]:
    """Lines for the staff's log, with nothing in them that a terminal would act on."""
    lines = [line for line in said if isinstance(line, str)] if isinstance(said, list) else []
    return ["".join(c if c.isprintable() else "?" for c in line[:longest]) for line in lines[:most]]


def number(said: Any, most: float = 1e6) -> float:
    """A number of seconds, or 0."""
    return float(said) if isinstance(said, int | float) and 0 <= said <= most else 0.0


def outcome(head: Mapping[str, Any], blob: bytes, inputs: bytes, specification: Specification,
            cells: Sequence[Cell]) -> Outcome:  # fmt: skip
    """An outcome from its frame; raises ValueError when it is none."""
    problem, detail = head.get("problem"), head.get("detail")
    if not isinstance(problem, str) or not isinstance(detail, str):
        raise ValueError("an outcome without problem and detail")
    if not problem:
        try:
            return Outcome(decode(blob))
        except TreeError as error:
            raise ValueError(str(error)) from None
    line = _line(head.get("line"), cells)
    if problem == "raised" and detail.split(":")[0] == "MemoryError":
        return Outcome(problem="memory", line=line)
    told = {
        "raised": lambda: detail if detail in EXCEPTIONS else "Exception",
        "type": lambda: "a result of a wrong type",
        "device": lambda: TWO_DEVICES,
        "modified": lambda: _input_path(detail, decode(inputs)),
        "forbidden": lambda: detail if _is_forbidden(detail, specification) else "something",
        "timeout": lambda: "",
        "missing": lambda: detail if detail in MISSING else "it cannot be called",
    }
    if problem not in told:
        raise ValueError("an unknown problem")
    return Outcome(problem=problem, detail=told[problem](), line=line)


def _is_forbidden(detail: str, specification: Specification) -> bool:
    """A name of the exercise's own list, or an operator that exists and that its policy refuses."""
    if detail in specification.forbidden:
        return True
    known = detail in NAMES or (detail.startswith("aten::") and torch._C._jit_get_schemas_for_operator(detail))
    return bool(known) and policy(specification.forbidden, specification.allowed).refuses(detail)


def _input_path(detail: str, inputs: Any) -> str:
    paths = {f"`{path}`" for path, _ in leaves(inputs)}
    return detail if detail in paths else ""


def _line(said: Any, cells: Sequence[Cell]) -> tuple[str, int] | None:
    """A place in the student's notebook that exists."""
    if not (isinstance(said, list) and len(said) == 2 and isinstance(said[0], str) and isinstance(said[1], int)):
        return None
    match = re.fullmatch(r"<cell (\d{1,5})>", said[0])
    if match is None or int(match[1]) >= len(cells):
        return None
    index = int(match[1])
    source = cells[index].source
    # IPython leaves out empty lines at the start, and counts without them.
    start = source[: len(source) - len(source.lstrip())].count("\n")
    line = said[1] + start
    return (f"<cell {index}>", line) if 1 <= line <= source.count("\n") + 1 else None
