"""What drivers say of a function that is differentiated."""

import pytest
import torch

from mlsys_course.desk.check import with_gradients

X, W = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
CASE = {"x": X, "w": W, "unused": X, "cotangent": torch.tensor([1.0, 10.0])}


def test_outputs_alone_without_a_cotangent():
    case = {"x": X, "w": W}
    assert torch.equal(with_gradients(torch.mul, case, ["x", "w"])["output"], X * W)
    assert list(with_gradients(lambda x: {"y": x, "z": 2}, case, ["x"])) == ["y", "z"]


def test_gradients_by_name_and_zeros_where_unused():
    found = with_gradients(lambda x, w, unused: x * w, CASE, ["x", "w", "unused"])
    assert list(found) == ["output", "gradient_x", "gradient_w", "gradient_unused"]
    assert found["gradient_x"].tolist() == [3, 40] and found["gradient_w"].tolist() == [1, 20]
    assert found["gradient_unused"].tolist() == [0, 0] and not X.requires_grad


def test_of_a_number():
    found = with_gradients(lambda x: {"loss": (x * W).sum()}, {**CASE, "cotangent": torch.tensor(2.0)}, ["x"], ["loss"])
    assert found["gradient_x"].tolist() == (2 * W).tolist()


def test_of_several_outputs_side_by_side():
    found = with_gradients(lambda x: {"y": x[:1], "z": 2 * x[1:]}, CASE, ["x"], of=("y", "z"))
    assert found["gradient_x"].tolist() == [1, 20]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: [1.0], "output is a list, expected a tensor"),
        (lambda x: x.sum(), r"output has shape \(\), expected \(2,\)"),
        (lambda x: x.detach(), "no gradient flows through your result"),
    ],
)
def test_what_cannot_be_differentiated_is_said(function, said):
    with pytest.raises(ValueError, match=said):
        with_gradients(function, CASE, ["x"])
