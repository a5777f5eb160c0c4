"""Nothing active of a student's reaches the pages of staff: feedback and formgrader show text and PNG pictures."""

import base64
import io
import itertools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from nbformat import NotebookNode
from nbformat.v4 import new_output

from ..sandbox.said import outputs

MOST_CHARACTERS = 4 << 20  # of one cell's outputs
MOST_PIXELS = 40_000_000
SCAN, MOST_SCANS = b"\xff\xda", 64  # of a JPEG, each of which goes through all pixels
ACTIVE = (
    r"<(?=[a-zA-Z/!?])",  # a tag
    r"\](?=[(:])",  # a link, a picture, a reference
    r"\\(?=(?:href|url|require|style|class|cssId|unicode|mmlToken|bbox|includegraphics)\b)",  # MathJax
    r"&(?=#|\w+;)",  # an entity, such as a backslash or a dollar that MathJax sees and this function does not
    r"(?:```|~~~)(?=\s*\w)",  # a fence that draws
    r":(?=//)|\bwww(?=\.)|@(?=\w)|\bmailto(?=:)",  # an address, which Markdown makes a link by itself
)
ZERO_WIDTH_SPACE = "\u200b"
ATTACHED = re.compile(r"!\[[\w .,-]*\]\(attachment:picture-\d+-\d+\.png\)")
# A picture as JupyterLab pastes it, and as Colab does.
PASTED = re.compile(r"!\[[^\]\n]{0,300}\]\((?:attachment:([^)\n]{1,300})|data:image/(?:png|jpeg);base64,([\w+/=]+))\)")


def passive_text(source: str) -> str:
    """Markdown or raw text in which nothing is a tag, a link, a picture, a diagram or a macro that acts.

    An invisible space parts what would make it one: HTML wants a letter right behind ``<``, Markdown a parenthesis
    or a colon right behind ``]``.
    """
    between, pictures = ATTACHED.split(source), ATTACHED.findall(source)
    for active in ACTIVE:
        between = [re.sub(active, lambda match: match[0] + ZERO_WIDTH_SPACE, text) for text in between]
    return "".join(text + picture for text, picture in itertools.zip_longest(between, pictures, fillvalue=""))


def attached(source: str, attachments: Any, cell: int = 0) -> tuple[str, dict[str, dict[str, str]]]:
    """A text whose pictures are named by us, and those pictures as PNG; what is no picture stays text."""
    given = attachments if isinstance(attachments, Mapping) else {}
    kept: dict[str, dict[str, str]] = {}
    left = MOST_CHARACTERS

    def name(match: re.Match[str]) -> str:
        nonlocal left
        bundle = given.get(unquote(match[1])) if match[1] else {"image/png": match[2]}
        data = next(iter(bundle.values()), "") if isinstance(bundle, Mapping) else ""
        picture = png(_joined(data), ("PNG", "JPEG")) if len(str(data)) <= left else ""
        left -= len(picture)
        if not picture:
            return match[0]
        own = f"picture-{cell}-{len(kept) + 1}.png"
        kept[own] = {"image/png": picture}
        return f"![picture](attachment:{own})"

    return PASTED.sub(name, source), kept


def shown(handed: Any) -> list[NotebookNode]:
    """What a cell showed on the student's own machine, of whatever stands in a file; what is no output is left out."""
    kept: list[NotebookNode] = []
    left = MOST_CHARACTERS
    for output in outputs([_whole(output) for output in handed] if isinstance(handed, list) else []):
        found = passive(output)
        left -= len(str(found))
        if found is not None and left >= 0:
            kept.append(found)
    return kept


def _whole(value: Any) -> Any:
    """An output with its texts in one piece, as files have them by lines; not a traceback, which is a list of lines."""
    if not isinstance(value, Mapping):
        return value
    whole = {str(key): _joined(item) if key == "text" else item for key, item in value.items()}
    data = whole.get("data")
    if isinstance(data, Mapping):
        texts = {str(kind): _joined(item) for kind, item in data.items()}
        whole["data"] = {kind: text for kind, text in texts.items() if isinstance(text, str)}
    if whole.get("output_type") == "execute_result":
        whole["execution_count"] = 0  # ours are counted anew
    return {"name": "stdout", "metadata": {}, **whole}


def _joined(text: Any) -> Any:
    return "".join(map(str, text)) if isinstance(text, list) else text


def passive(output: dict) -> NotebookNode | None:
    """A student's output with nothing active in it: text and PNG pictures, no HTML, SVG, script or Markdown."""
    kind = output.get("output_type")
    if kind == "stream":
        return new_output("stream", name=str(output.get("name", "stdout")), text=str(output.get("text", "")))
    if kind == "error":
        lines = [str(line) for line in output.get("traceback", [])]
        return new_output("error", ename=str(output["ename"]), evalue=str(output["evalue"]), traceback=lines)
    data = output.get("data") or {}
    kept = {"text/plain": str(data.get("text/plain", ""))}
    if picture := png(data.get("image/png")):
        kept["image/png"] = picture
    return new_output("display_data", data=kept)


def png(text: object, formats: tuple[str, ...] = ("PNG",)) -> str:
    """Base64 of a picture that holds as PNG, byte for byte as it was; one of other ``formats`` anew; else empty."""
    from PIL import Image

    try:
        raw = base64.b64decode(str(text), validate=True)
        with Image.open(io.BytesIO(raw), formats=formats) as picture:
            scans = raw.count(SCAN) if picture.format == "JPEG" else 0
            if picture.width * picture.height > MOST_PIXELS or scans > MOST_SCANS:
                return ""
            if picture.format != "PNG":
                picture.convert("RGB").save(anew := io.BytesIO(), "PNG")
                raw = anew.getvalue()
            else:
                picture.verify()
        return base64.b64encode(raw).decode()
    except Exception:
        return ""
