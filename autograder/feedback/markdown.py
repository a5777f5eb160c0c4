"""A lab's Markdown as HTML with nothing active in it: raw HTML as text, no pictures, formulas as MathML."""

import html
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

SHOWN = {
    "mathvariant",
    "stretchy",
    "fence",
    "form",
    "accent",
    "accentunder",
    "columnalign",
    "rowspacing",
    "linethickness",
}
SHOWN |= {
    "columnspacing",
    "displaystyle",
    "scriptlevel",
    "lspace",
    "rspace",
    "width",
    "height",
    "depth",
    "minsize",
    "maxsize",
}
SPACES = ("veryverythin", "verythin", "thin", "medium", "thick", "verythick", "veryverythick")  # 1/18 em, 2/18 ...
WIDTHS = {f"{name}mathspace": f"{n / 18:.3g}em" for n, name in enumerate(SPACES, 1)}
WIDTHS |= {f"negative{name}": f"-{width}" for name, width in WIDTHS.items()}
MOST_TEX = 4000


def to_html(source: str, shift: int = 0) -> Markup:
    """Render; headings are ``shift`` levels deeper than they say."""
    return Markup(MarkdownWithMath(renderer=_Renderer(shift)).render(source))


def mathml(tex: str, *, block: bool = False) -> str:
    """A formula as MathML that reads its TeX aloud; the TeX itself where the converter does not know a command."""
    try:
        if len(tex) > MOST_TEX:
            raise ValueError("too long for a formula")
        element = convert_to_element(tex, display="block" if block else "inline")
    except Exception:  # the converter has many ways to fail, and the source says as much
        return _source(tex, block)
    for node in _passive(element):
        if "\\" in (node.text or ""):
            return _source(tex, block)
    element.set("alttext", " ".join(tex.split()))
    return ElementTree.tostring(element, encoding="unicode")


def _passive(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Every node, with only such attributes as change how a formula looks; links and styles are gone."""
    for node in element.iter():
        node.text = html.unescape(node.text or "")  # the converter writes entities, and a tree wants characters
        kept = {key: WIDTHS.get(value, value) for key, value in node.attrib.items() if key in SHOWN}
        if node is element:
            kept |= {key: element.attrib[key] for key in ("display",) if key in element.attrib}
        node.attrib.clear()
        node.attrib.update(kept)
        yield node


def _source(tex: str, block: bool) -> str:
    tag = "pre" if block else "code"
    return f'<{tag} class="tex">{html.escape(" ".join(tex.split()))}</{tag}>'


class _Renderer(IPythonRenderer):
    """nbconvert's renderer, with formulas, without what loads or runs anything."""

    def __init__(self, shift: int):
        super().__init__(escape=True, allow_harmful_protocols=False, exclude_anchor_links=True)
        self.shift = shift

    def text(self, text: str) -> str:
        """Entities are characters; what they spell is text again."""
        return html.escape(html.unescape(text), quote=False)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f"<h{min(level + self.shift, 6)}>{text}</h{min(level + self.shift, 6)}>\n"

    def block_math(self, body: str) -> str:
        return f'<div class="scroll" tabindex="0">{mathml(body, block=True)}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"<em>[picture: {html.escape(text)}]</em>"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Links inside the lab's folder lead nowhere from a page; those into the web stay."""
        if url.startswith(("https://", "http://")):
            return f'<a href="{html.escape(url, quote=True)}" rel="noreferrer">{text}</a>'
        return text

    def block_code(self, code: str, info: str | None = None) -> str:
        return f'<pre class="scroll" tabindex="0">{html.escape(code)}</pre>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll" tabindex="0"><table>{text}</table></div>\n'
