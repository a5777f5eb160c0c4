"""Nothing active of a student's text reaches a page of staff."""

import re

import pytest
from nbconvert.filters import markdown2html

from autograder.grade.passive import passive, passive_text

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "[b](javascript:alert(1))",
    "[b](java&#115;cript:alert(1))",
    "[c][d]\n\n[d]: JaVaScRiPt:alert(3)",
    "![](data:image/svg+xml;base64,PHN2Zz4=)",
    "![g](http://example.invalid/track.png)",
    "<javascript:alert(1)>",
    "<http://example.invalid>",
    "```mermaid\ngraph LR\nclick A \"javascript:alert(1)\"\n```",
    "`x` <!-- --> <a href='javascript:1'>y</a>",
]  # fmt: skip


@pytest.mark.parametrize("source", ATTACKS)
def test_markdown_is_text(source):
    page = markdown2html(passive_text(source))
    assert set(re.findall(r"<([a-zA-Z]+)", page)) <= {"p", "pre", "code", "div", "span", "em", "strong", "a"}, page
    attributes = re.findall(r"<\w+([^>]*)>", page)
    assert not any(re.search(r"\b(src|on\w+)\s*=", text) for text in attributes), page
    targets = [target for text in attributes for target in re.findall(r'href="([^"]*)"', text)]
    assert all(target.startswith("http://example.invalid") for target in targets), page  # a bare address may be clicked


def test_math_macros_that_act_are_parted():
    assert "\\href" not in passive_text(r"$\href{javascript:alert(4)}{x}$ and $\frac{1}{2}$")
    assert "\\frac{1}{2}" in passive_text(r"$\frac{1}{2}$")


def test_plain_words_stay_as_they_are():
    text = "# Why\n\nBecause **a < b** and $x_{i} < y$, see `f(x)`.\n\n- one\n- two [note]\n"
    assert passive_text(text) == text


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/javascript", "text/markdown", "text/latex"]
)
def test_only_text_and_pictures_are_kept(kind):
    output = {
        "output_type": "display_data",
        "data": {kind: "<script>1</script>", "text/plain": "kept", "image/png": "bad"},
    }
    assert passive(output).data == {"text/plain": "kept"}
