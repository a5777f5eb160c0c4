"""What a release says to students: ``README.md``, ``requirements.txt``, ``environment.yml``."""

from dataclasses import asdict

from mlsys_course.desk.lateness import in_words
from mlsys_course.desk.points import LabPoints

from ..course import Course
from ..term.editions import components
from .wheel import requirements

README = """\
# {title}

{course}, {term}. {points}, due {due}.
{late}

## Start

Python 3.11, 3.12 or 3.13, in an environment of your own (`python -m venv mlsys`, or conda). In this folder:

```
pip install -r requirements.txt
jupyter lab {stem}.ipynb
```

With conda: `conda env create -f environment.yml`, then `conda activate mlsys`. No GPU is needed. Once one lab runs, the
next one is `mlsys start labNN --from THE-ZIP`, called in the folder that holds your labs.

**Google Colab.** Open the notebook there, upload the lab's zip (the folder symbol on the left), and run the first code
cell: it unpacks the zip and installs the course's package. Your notebook is in your Drive; the rest of that machine is
gone when you leave it. To hand in, download the notebook into this folder.

**JupyterHub.** Open the folder and the notebook in it. Where the course's package is not installed, run this once in a
terminal, in this folder:

```
pip install --no-deps {wheel}
```

## Work

Keep this folder as it is: the notebook finds `drivers.py` and `cases/` beside it. Work from the top; each exercise ends
in a `check(...)`, which says what is right, what is wrong, and where.

```
mlsys check {short}     # the whole notebook, from the top, in a clean process: points on the public cases
mlsys carry {short}     # keep what passes in my_mlsys/, for later labs
mlsys submit {short}    # look it over, and pack it to hand in
mlsys doctor          # what this machine lacks
```

## If you missed a lab

{earlier}
"""


def readme(course: Course, stem: str, title: str, points: LabPoints, wheel: str) -> str:
    """The student's page of a lab."""
    plan = course.plan.labs[stem]
    due = f"{plan.due:%A, %d %B %Y, %H:%M} ({plan.due.tzname()})" if plan.due else "as your teacher says"
    return README.format(
        title=title,
        course=course.name,
        term=course.term.name,
        points=_points(points),
        due=due,
        late=in_words(asdict(course.plan.late)) if plan.due else "",
        stem=stem,
        short=stem.split("_")[0],
        wheel=wheel,
        earlier=_earlier(course, stem),
    )


def _points(points: LabPoints) -> str:
    extensions = sum(worth for name, worth in points.worth.items() if points.kinds[name] == "extension")
    bonus = min(points.bonus, extensions)
    return f"{points.most:g} points" + (f", and up to {bonus:g} more for extensions" if bonus else "")


def _earlier(course: Course, stem: str) -> str:
    names = list(course.syllabus)
    before, left_out = names[: names.index(stem)], course.withheld(stem)
    there = sorted({course.syllabus[name] for name in before} & set(components()) - set(left_out))
    if not there:
        return "This is the first lab: nothing that it uses was asked for before."
    listed = ", ".join(f"`{name}`" for name in there)
    return (
        "This lab needs nothing that you wrote before.\n"
        f"The wheel in this folder holds the course's own versions of what earlier labs build: {listed}.\n"
        "What you carried of your own is used instead, and it is said whose each part is. "
        "You can still do an earlier lab later."
    )


def pinned(course: Course, wheel: str) -> str:
    """``requirements.txt``: the wheel, and the versions that the course runs on."""
    path = course.root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    direct = {_plain(one.name) for one in requirements() if not one.marker}
    pins = [line for line in lines if "==" in line and _plain(line.split("==")[0]) in direct]
    return "\n".join([f"./{wheel}", *pins]) + "\n"


def environment(course: Course) -> str:
    """``environment.yml``: conda's Python, then the same requirements."""
    path = course.root / "environment.yml"
    known = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    line = next((line for line in known if line.startswith("  - python ")), "  - python >=3.11,<3.14")
    rest = ["  - pip", "  - pip:", "      - -r requirements.txt"]
    head = ["name: mlsys", "channels:", "  - conda-forge", "  - nodefaults", "dependencies:"]
    return "\n".join([*head, line, *rest, ""])


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
