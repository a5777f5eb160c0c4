"""The live curve of a training cell."""

import math

import pytest

from mlsys_course.substrate import live
from mlsys_course.substrate.live import LossCurve


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves when it is told to."""
    now = [100.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])
    return now


class Place:
    def __init__(self):
        self.pictures = []

    def update(self, fig):
        self.pictures.append(fig)


def test_it_moves_every_three_seconds_and_at_the_end(clock, monkeypatch, capsys):
    place = Place()
    monkeypatch.setattr(live, "_place", lambda fig: place)
    curve = LossCurve(10)
    assert math.isnan(curve.loss) and curve.steps == 0 and curve.passed == 0
    while curve.passed < 1:
        clock[0] += 1
        curve.add(curve.steps + 1.0)
    assert curve.steps == 10 and len(place.pictures) == 2
    curve.end()
    lines = place.pictures[-1].axes[0].lines
    assert list(lines[0].get_xdata()) == list(range(1, 11)) and list(lines[0].get_ydata()) == list(range(1, 11))
    assert list(lines[1].get_ydata()) == curve.smoothed() == [(n + 2) / 2 for n in range(10)]
    assert "10 steps in 10 s, loss 5.50" in capsys.readouterr().out


def test_the_loss_is_of_the_last_twenty(clock):
    curve = LossCurve(5)
    for n in range(50):
        curve.add(float(n))
    assert curve.loss == curve.smoothed()[-1] == 39.5


def test_without_a_notebook_and_without_a_step_it_just_says_so(clock, capsys):
    LossCurve(5).end()
    assert "0 steps in 0 s, loss nan" in capsys.readouterr().out
