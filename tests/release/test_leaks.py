"""Nothing sealed is in a release, by content; and what is planted there is found, also inside the wheel."""

import base64
import io
import zipfile

import pytest

from autograder.build.edition import stage_edition
from autograder.build.leaks import _unpacked, array_bytes, bodies, leaks
from autograder.build.proof import prove_stripped
from autograder.cases import sealed_specification
from autograder.course import load_course
from autograder.release.contents import contents
from tests.conftest import ROOT
from tests.release.conftest import STEM

ANSWER = "def other(x):\n    '''Mine.'''\n    product = x * {factor}\n    return product  # mine\n"


def in_wheel(name: str, data: bytes) -> dict[str, bytes]:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return {"a.whl": blob.getvalue()}


def sealed_array(course) -> bytes:
    item = course.lab(STEM).exercises[0]
    cases = item.cases(course.term.draw(STEM, item.id, "sealed", group=0))
    return next(iter(array_bytes([given.inputs for given in cases][1:])))


def test_the_release_is_clean(here):
    course = load_course(here)
    assert leaks(course, STEM, contents(course, STEM, 1)) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda c: c.term.secret, "the secret"),
        (lambda c: bytes.fromhex(c.term.secret.decode()), "the secret"),
        (lambda c: b"x" + base64.b64encode(bytes.fromhex(c.term.secret.decode())), "the secret"),
        (lambda c: base64.b64encode(c.term.secret), "the secret"),
        (lambda c: b"123" + sealed_array(c) + b"4", "a sealed case of times"),
    ],
)
@pytest.mark.parametrize("wheel", [False, True])
def test_planted_bytes_are_found(here, plant, said, wheel):
    course = load_course(here)
    data = plant(course)
    spoilt = in_wheel("mlsys_course/substrate/data.bin", data) if wheel else {"cases/times.safetensors": data}
    found = leaks(course, STEM, spoilt)  # the wheel itself may hold the bytes as they are too
    assert f"{said}, in {'a.whl/mlsys_course/substrate/data.bin' if wheel else 'cases/times.safetensors'}" in found


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("notes.py", ANSWER, "an answer, in notes.py"),
        ("notes.py", (ROOT / "mlsys_course/attention/masks.py").read_text(), "attention/masks.py, in notes.py"),
        ("notes.md", "  Because it is so, and every one of us has known it.\n", "a line of an answer, in notes.md"),
    ],
)
def test_planted_text_is_found(here, name, text, said):
    source = here / "solutions" / STEM / f"{STEM}.py"
    source.write_text(source.read_text().replace("Because it is so.", text.strip() if name == "notes.md" else "No."))
    course = load_course(here)
    text = text.replace("{factor}", str(course.lab(STEM).variants["factor"]))
    assert leaks(course, STEM, {name: text.encode()}) == [said]
    (found,) = leaks(course, STEM, in_wheel(f"mlsys_course/{name}", text.encode()))
    assert found.endswith(f"/mlsys_course/{name}")


RENAMED = "def mine(x):\n    'Mine.'\n    product = x * {factor}  # so\n    return product\n"
TWO_LINES = "product = x * {factor}\nreturn product\n"


SEEN = [
    pytest.param(RENAMED, id="what only a release saw"),
    pytest.param(TWO_LINES, id="what only a build saw", marks=pytest.mark.long),
]


@pytest.mark.parametrize("text", SEEN)
def test_the_proof_of_a_build_and_a_release_see_the_same(here, tmp_path, text):
    course = load_course(here)
    edition = stage_edition(course, STEM, course.built(STEM), tmp_path / "edition")
    lab = course.lab(STEM)
    assert prove_stripped(course, lab, edition).ok
    text = text.replace("{factor}", str(lab.variants["factor"]))
    (edition / "lab" / "notes.py").write_text(text)
    line = prove_stripped(course, lab, edition)
    assert not line.ok and "an answer" in line.detail and "in lab/notes.py" in line.detail
    assert leaks(course, STEM, {"notes.py": text.encode()})


def test_a_function_is_known_by_what_it_does():
    assert bodies("def f(x):\n    'A.'\n    y = x  +  (1)\n    return y * y * 3.14159265358979323 - 2") == bodies(
        "class A:\n    def g(self, x) -> int:\n        y = x + 1  # why\n        return y*y*3.14159265358979323-2"
    )
    assert bodies("def f(x):\n    return x") == set()


def test_a_real_lab_is_clean_also_of_expected_outputs(course):
    """lab02: what a sealed case expects stands nowhere; of functions and inputs the release itself has looked."""
    stem = "lab02_attention"
    files = contents(course, stem, 1)
    assert leaks(course, stem, files) == []
    lab, everything = course.lab(stem), dict(_unpacked(files))
    item = next(item for item in lab.exercises if item.id == "attention")
    expected = [data for case in sealed_specification(lab, item).cases for data in array_bytes(case.expected)]
    large = [data for data in expected if len(set(data)) >= 16]
    assert len(large) > 4 and not [data for data in large for blob in everything.values() if data in blob]
