"""environment.yml, constraints.txt and pyproject.toml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if line and not line.startswith("#"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_conda_installs_the_package_with_the_same_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python "))
    assert python.removeprefix("python ") == PROJECT["requires-python"]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["-c constraints.txt", "-e .[data]"]
    assert environment["channels"][0] == "conda-forge"


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    everything = [*PROJECT["dependencies"], *(r for extra in extras for r in extra)]
    return [r for r in everything if not r.startswith("mlsys_course")]


@pytest.mark.parametrize("text", requirements())
def test_every_requirement_has_an_exact_version_that_fits(text):
    requirement = Requirement(text)
    pins = {canonical(name): version for name, version in PINS.items()}
    assert pins[canonical(requirement.name)] in requirement.specifier


def test_torch_is_the_course_version():
    assert PINS["torch"] == "2.13.0"
