"""The student edition: ``mlsys_course`` without the references that a lab and later ones ask for, and the lab."""

import shutil
from pathlib import Path

from ..course import Course
from ..term.editions import package_folder

SKIP = shutil.ignore_patterns("__pycache__", "*.pyc")


def stage_edition(course: Course, stem: str, lab_folder: Path, destination: Path) -> Path:
    """Write ``destination/python/mlsys_course`` and ``destination/lab``; return ``destination``."""
    package = destination / "python" / "mlsys_course"
    shutil.copytree(package_folder(), package, ignore=SKIP)
    for component in course.withheld(stem):
        shutil.rmtree(package / component, ignore_errors=True)
    shutil.copytree(lab_folder, destination / "lab", ignore=SKIP)
    return destination
