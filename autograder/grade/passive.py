"""Nothing active of a student's reaches the pages of staff: feedback and formgrader show text and PNG pictures."""

import base64
import io
import re

from nbformat import NotebookNode
from nbformat.v4 import new_output

MOST_PIXELS = 40_000_000
ACTIVE = (
    r"<(?=[a-zA-Z/!?])",  # a tag
    r"\](?=[(:])",  # a link, a picture, a reference
    r"\\(?=(?:href|url|require|style|class|cssId|unicode|mmlToken|bbox|includegraphics)\b)",  # MathJax
    r"&(?=#|\w+;)",  # an entity, such as a backslash or a dollar that MathJax sees and this function does not
    r"(?:```|~~~)(?=\s*\w)",  # a fence that draws
    r":(?=//)|\bwww(?=\.)|@(?=\w)|\bmailto(?=:)",  # an address, which Markdown makes a link by itself
)
ZERO_WIDTH_SPACE = "\u200b"


def passive_text(source: str) -> str:
    """Markdown or raw text in which nothing is a tag, a link, a picture, a diagram or a macro that acts.

    An invisible space parts what would make it one: HTML wants a letter right behind ``<``, Markdown a parenthesis
    or a colon right behind ``]``.
    """
    for active in ACTIVE:
        source = re.sub(active, lambda match: match[0] + ZERO_WIDTH_SPACE, source)
    return source


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


def png(text: object) -> str:
    """Base64 of a picture that holds as PNG, byte for byte as it was; else empty."""
    from PIL import Image

    try:
        raw = base64.b64decode(str(text), validate=True)
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return ""
            picture.verify()
        return base64.b64encode(raw).decode()
    except Exception:
        return ""
