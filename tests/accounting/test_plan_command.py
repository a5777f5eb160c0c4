"""The command ``mlsys plan``: tables, picture, JSON, files, exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlsys_course.desk.cli import app
from mlsys_course.desk.plan_command import accounting_of, configuration
from mlsys_course.substrate.errors import CourseProblem
from mlsys_course.substrate.model_config import RotaryScaling


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "80"})


def test_the_command_fits_a_terminal_of_80_columns_and_writes_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    done = invoke("llama2-7b", "--gpus", "64", "--tokens", "2e12", "--price", "2.5", "--picture", str(picture))
    assert done.exit_code == 0, done.output
    assert "…" not in done.output and "1 *  none" in done.output and "161,732" in done.output
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    again = invoke("llama2-7b", "--gpus", "64", "--tokens", "2e12", "--picture", str(picture))
    assert isinstance(again.exception, CourseProblem) and "there already" in str(again.exception)


def test_json_is_for_scripts_and_the_exit_code_says_whether_it_fits() -> None:
    done = invoke("llama3.1-405b", "--gpus", "64", "--tokens", "1e12", "--json")
    found = json.loads(done.output)
    assert done.exit_code == 1 and not found["fits"] and found["best"] is None
    assert found["remedies"] and len(found["options"]) == 12
    assert found["options"][0]["memory"]["total"] > found["card_bytes"]


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    sizes = {
        "vocabulary": 1000,
        "context": 128,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 16,
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**sizes, "d_ffn": 256}))
    done = invoke(str(path), "--gpus", "1", "--tokens", "1e6", "--gpu", "v100", "--json")
    assert done.exit_code == 0 and json.loads(done.output)["dtype"] == "float16"
    for text, says in (('{"d_model": 3}', "d_ffn"), ("[", "own.json"), ('{"width": 3}', "width")):
        path.write_text(text)
        done = invoke(str(path), "--gpus", "1", "--tokens", "1e6")
        assert isinstance(done.exception, CourseProblem) and says in str(done.exception)
    scaled = {**sizes, "d_ffn": 256, "rotary_scaling": {"factor": 8.0, "original_context": 16}}
    path.write_text(json.dumps(scaled))
    assert configuration(str(path)).rotary_scaling == RotaryScaling(8.0, original_context=16)
    path.write_text(json.dumps({**scaled, "rotary_scaling": {"factor": -1}}))
    assert "factor=-1; give a number above 0" in str(invoke(str(path), "--gpus", "1", "--tokens", "1e6").exception)
    path.write_text(json.dumps({**sizes, "d_ffn": 256, "n_kv_heads": 3}))
    assert "n_kv_heads=3 does not divide" in str(invoke(str(path), "--gpus", "1", "--tokens", "1e6").exception)


def test_an_edition_without_the_component_says_when_it_comes() -> None:
    with pytest.raises(CourseProblem, match="comes with lab 8"):
        accounting_of("no_such_module")
