"""The table that every account returns."""

from dataclasses import FrozenInstanceError

import pytest

from mlsys_course.accounting import Table, gpt2, parameter_table

TABLE = Table("bytes", {"attention.query": 3, "mlp": 4, "attention.output": 1, "none": 0}, "All of it.")


def test_a_table_is_a_mapping_of_its_terms() -> None:
    assert TABLE == {"attention.query": 3, "mlp": 4, "attention.output": 1, "none": 0}
    assert list(TABLE) == ["attention.query", "mlp", "attention.output", "none"] and TABLE["mlp"] == 4
    assert TABLE.total == 8 and "total" not in TABLE
    assert list(TABLE.to_dict())[-1] == "total"
    assert TABLE != {"mlp": 4}
    with pytest.raises(FrozenInstanceError):
        TABLE.quantity = "FLOPs"  # pyright: ignore[reportAttributeAccessIssue]


def test_shares_groups_and_multiples() -> None:
    assert TABLE.shares() == {"attention.query": 3 / 8, "mlp": 0.5, "attention.output": 1 / 8, "none": 0}
    assert Table("bytes", {"a": 0}).shares() == {"a": 0}
    assert list(TABLE.grouped().items()) == [("attention", 4), ("mlp", 4), ("none", 0)]
    assert TABLE.grouped(lambda name: "all") == {"all": 8}
    assert TABLE.scaled(3).total == 24 and TABLE.scaled(3).convention == "All of it."


def test_as_text() -> None:
    lines = str(parameter_table(gpt2())).splitlines()
    assert lines[0] == "parameters" and lines[-1].startswith("Each term is a sum")
    assert lines[1].split() == ["embedding", "38,597,376", "38.6", "M", "31.02%"]
    assert lines[-2].split() == ["total", "124,439,808", "124", "M", "100.00%"]
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert "1 G" in str(Table("bytes", {"a": 999_999_999}))


def test_as_picture() -> None:
    fig = TABLE.picture(line=6, line_label="card", unit=1, unit_name="B")
    (ax,) = fig.axes
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [3, 4, 1]
    assert [bar.get_x() for bar in ax.patches] == [0, 3, 7]
    assert ax.lines[0].get_xdata()[0] == 6
