"""The lab's text as HTML: formulas, entities, tables, and nothing active."""

import re
from datetime import timedelta
from xml.etree import ElementTree

import nbformat
import pytest

from autograder.feedback.code import MOST_LINES, code_html
from autograder.feedback.lab_text import read_lab
from autograder.feedback.markdown import mathml, to_html
from autograder.feedback.words import error_html, span


def test_every_formula_of_the_built_labs_becomes_mathml(course):
    count = 0
    for path in sorted((course.root / "labs").glob("*/*.ipynb")):
        for section in read_lab(nbformat.read(path, as_version=4), path.stem).sections:
            page = to_html(section.text)
            assert 'class="tex"' not in page, (path.stem, re.findall(r'class="tex">(.*?)<', page))
            count += page.count("<math")
    assert count > 50


def test_a_formula_is_a_tree_that_says_its_source():
    element = ElementTree.fromstring(mathml(r"\frac{QK^\top}{\sqrt{D}} < 1\!x", block=True))
    assert element.attrib == {"display": "block", "alttext": r"\frac{QK^\top}{\sqrt{D}} < 1\!x"}
    assert element.find(".//mfrac//msqrt") is not None and "<" in "".join(element.itertext())
    assert [space.attrib["width"] for space in element.iter("mspace")] == ["-0.167em"]


@pytest.mark.parametrize("tex", [r"\unknown{x}", r"\frac{a}{", r"\left( x", "x" * 5000])
def test_what_the_converter_does_not_know_stays_as_it_was_written(tex):
    assert mathml(tex).startswith('<code class="tex">')


@pytest.mark.parametrize("tex", [r"\href{javascript:alert(1)}{x}", r"\style{background:url(//x)}{y}", r"\class{a}{b}"])
def test_macros_that_act_do_not(tex):
    assert not re.search(r"(href|style|class)=(?!\"tex)", mathml(tex))
    assert "<script" not in mathml(r"\text{<script>alert(1)</script>}")


def test_text_shows_what_it_says_and_loads_nothing():
    source = (
        "a &emsp; b &lt;i&gt; <b>bold</b>\n\n![chart](a.png) [here](../x) [there](https://e.org)\n\n[j](javascript:1)"
    )
    page = to_html(source)
    assert "a \u2003 b &lt;i&gt; &lt;b&gt;bold" in page and "[picture: chart]" in page
    assert re.findall(r"<(\w+)", page) == ["p", "p", "em", "a", "p"] and 'href="https://e.org"' in page


def test_tables_and_drawings_scroll_by_themselves():
    page = to_html("| a | b |\n|---|---|\n| 1 | $x$ |\n\n```\n  q ─┐ <x>\n```\n\n$$y$$\n")
    assert page.count('class="scroll" tabindex="0"') == 3 and "<th>a</th>" in page and "&lt;x&gt;" in page


def test_code_is_escaped_marked_and_bounded():
    page = code_html("x = 1\ny = '</pre><script>'\n", 2)
    assert "<script" not in page and re.search(r'class="hll">.*y', page)
    long = code_html("x = 1\n" * (MOST_LINES + 5))
    assert "and 5 more lines" in long and long.count("\n") < MOST_LINES + 5


SCALER = '''
class Scaler:
    """It scales.
    Well.

    More."""

    def step(
        self, x
    ):
        pass
'''


def test_what_is_asked():
    cells = [
        nbformat.v4.new_markdown_cell("# Lab\nIntro.\n```\n# no heading\n```"),
        nbformat.v4.new_markdown_cell("more intro\n\n## Part `one`\ntext\n\n**Choose.** Which?\n\n(a) 1 (b) 2"),
        solution("pick", "# Assign a letter.\n"),
        graded("pick"),
        solution("Scaler", SCALER),
        graded("Scaler"),
    ]  # fmt: skip
    lab = read_lab(nbformat.v4.new_notebook(cells=cells), "stem")
    assert lab.title == "Lab" and [section.title for section in lab.sections] == ["Lab", "Part `one`"]
    assert "no heading" in lab.sections[0].text and "more intro" in lab.sections[0].text
    pick, scaler = lab.exercises.values()
    assert pick.question == "**Choose.** Which?\n\n(a) 1 (b) 2" and pick.section == 1
    assert (
        scaler.signature == "class Scaler\n    def step(\n        self, x\n    )" and scaler.said == "It scales. Well."
    )


def solution(name: str, source: str) -> nbformat.NotebookNode:
    about = {"nbgrader": {"grade_id": f"solution-{name}", "solution": True, "grade": False}}
    return nbformat.v4.new_code_cell(source, metadata=about)


def graded(name: str) -> nbformat.NotebookNode:
    about = {"nbgrader": {"grade_id": name, "solution": False, "grade": True}}
    return nbformat.v4.new_code_cell(f'check("{name}", {name})', metadata=about)


def test_sizes_and_times_in_words():
    assert error_html("1e-03") == "10<sup>\u22123</sup>" and error_html("1e+00") == "1 or more"
    assert error_html("inf") == "infinite" and error_html("") == ""
    assert span(timedelta(days=1, hours=2, minutes=3)) == "1 day 2 hours" and span(timedelta(0)) == ""
