"""A student's code, highlighted and escaped, for light and dark."""

import re

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from mlsys_course.desk.screen import printable

MOST_CHARACTERS, MOST_LINES = 12_000, 300
LIGHT, DARK = "default", "github-dark"
LEXER = PythonLexer(stripnl=False)


def code_html(source: str, line: int = 0, *, numbers: bool = True) -> Markup:
    """The first lines of a cell, enough for any honest one; ``line`` is marked."""
    shown = _cut(source)
    formatter = HtmlFormatter(nowrap=False, linenos="inline" if numbers else False, hl_lines=[line] if line else [])
    text = highlight(shown.replace("\r", "\n"), LEXER, formatter)
    left = source.rstrip().count("\n") - shown.count("\n")
    more = f"<p>… and {left} more lines in the notebook.</p>" if left > 0 else ""
    return Markup(text.replace("<pre>", '<pre class="scroll" tabindex="0">', 1) + more)


def _cut(source: str) -> str:
    lines = source.rstrip().split("\n")[:MOST_LINES]
    text = "\n".join(line[:1000] for line in lines)[:MOST_CHARACTERS]
    return printable(text, "\n\t")


def style(name: str) -> str:
    """Colours of one of pygments' styles; its backgrounds are ours."""
    rules = HtmlFormatter(style=name).get_style_defs(".highlight").split("\n")
    own = [rule for rule in rules if re.match(r"\.highlight \.(?!hll)\w+ \{", rule)]
    return "\n".join(rule for rule in own if not rule.startswith((".highlight .err", ".highlight .w ")))
