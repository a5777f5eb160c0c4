"""The freeze on disk: sorted, with a line for each small item."""

import json
from pathlib import Path

HERE, FREEZE = Path(__file__).parent, "freeze.json"
WIDTH = 120


def load_freeze(folder: Path = HERE) -> dict:
    """The frozen exercises and rooms; none where nothing is frozen yet."""
    path = folder / FREEZE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"exercises": {}, "rooms": {}}


def dumped(value: object, indent: int = 0) -> str:
    """JSON in which a dict that is too long for a line has a line for each item, unless it is a verdict."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if indent + len(line) <= WIDTH or not isinstance(value, dict) or "fails" in value:
        return line
    inner = " " * (indent + 1)
    items = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {dumped(value[key], indent + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
