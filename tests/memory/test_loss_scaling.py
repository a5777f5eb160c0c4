"""``DynamicLossScaler`` against ``torch.amp.GradScaler``, driven over the same steps."""

import json
import math

import pytest
import torch

from mlsys_course.memory import DynamicLossScaler

Steps = list[list[torch.Tensor]]


def drawn_steps(seed: int, count: int, bad: float) -> Steps:
    """Scaled gradients of ``count`` steps; each step has an infinity or a NaN with probability ``bad``."""
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for _ in range(count):
        gradients = [torch.randn(shape, generator=generator) for shape in [(3, 4), (5,), ()]]
        if torch.rand((), generator=generator) < bad:
            poison = (math.inf, -math.inf, math.nan)[int(torch.randint(3, (), generator=generator))]
            victim = gradients[int(torch.randint(3, (), generator=generator))].view(-1)
            victim[int(torch.randint(len(victim), (), generator=generator))] = poison
        steps.append(gradients)
    return steps


def grad_scaler(**settings: float) -> torch.amp.GradScaler:
    """PyTorch's scaler under our names."""
    settings = {"init_scale" if name == "initial_scale" else name: value for name, value in settings.items()}
    return torch.amp.GradScaler("cpu", **settings)  # pyright: ignore[reportArgumentType]


def pytorch_trajectory(scaler: torch.amp.GradScaler, steps: Steps) -> list[tuple[float, list[torch.Tensor] | None]]:
    """(scale after the step, what the optimizer got; None where it was not called) of each step."""
    found = []
    for gradients in steps:
        parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        scaler.scale(torch.zeros(()))  # makes its state
        scaler.step(optimizer)
        scaler.update()
        stepped = any(bool(p.detach().any()) for p in parameters)
        found.append((scaler.get_scale(), [p.grad for p in parameters] if stepped else None))
    return found


def our_trajectory(scaler: DynamicLossScaler, steps: Steps) -> list[tuple[float, list[torch.Tensor] | None]]:
    found = []
    for gradients in steps:
        unscaled = scaler.step(gradients)
        found.append((scaler.loss_scale, unscaled))
    return found


def assert_same(ours: list, pytorchs: list) -> None:
    for number, ((scale, gradients), (want_scale, want)) in enumerate(zip(ours, pytorchs, strict=True)):
        assert scale == pytest.approx(want_scale, rel=1e-6), f"step {number}: {scale}, GradScaler has {want_scale}"
        assert (gradients is None) == (want is None), f"step {number}: skipped {gradients is None}"
        for got, expected in zip(gradients or [], want or [], strict=True):
            torch.testing.assert_close(got, expected)


SETTINGS = {
    "usual factors": {"initial_scale": 2.0**16, "growth_interval": 4},
    "grows at every step": {"initial_scale": 1.0, "growth_interval": 1},
    "other powers": {"initial_scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3},
    "no powers of two": {"initial_scale": 1000.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 2},
    "long interval": {"initial_scale": 2.0**10, "growth_interval": 50},
}


@pytest.mark.parametrize("bad", [0.0, 0.2, 0.7], ids=["no overflow", "some", "most"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_trajectory_is_grad_scalers(settings: dict, bad: float) -> None:
    steps = drawn_steps(seed=len(settings), count=40, bad=bad)
    assert_same(
        our_trajectory(DynamicLossScaler(**settings), steps), pytorch_trajectory(grad_scaler(**settings), steps)
    )


def test_growth_stops_at_the_end_of_float32_as_grad_scalers_does() -> None:
    settings = {"initial_scale": 2.0**125, "growth_interval": 1}
    steps = drawn_steps(seed=0, count=6, bad=0.0)
    ours = our_trajectory(DynamicLossScaler(**settings), steps)
    assert [scale for scale, _ in ours] == [scale for scale, _ in pytorch_trajectory(grad_scaler(**settings), steps)]
    assert ours[-1][0] == 2.0**127


@pytest.mark.parametrize("cut", [0, 1, 5, 17])
def test_a_resumed_scaler_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    settings = SETTINGS["usual factors"]
    steps = drawn_steps(seed=3, count=30, bad=0.2)
    first = DynamicLossScaler(**settings)
    before = our_trajectory(first, steps[:cut])
    saved = json.dumps(first.state_dict())
    resumed = DynamicLossScaler()
    resumed.load_state_dict(json.loads(saved))
    assert_same(before + our_trajectory(resumed, steps[cut:]), pytorch_trajectory(grad_scaler(**settings), steps))


def test_the_state_that_was_saved_does_not_move() -> None:
    scaler = DynamicLossScaler(growth_interval=2)
    saved = scaler.state_dict()
    our_trajectory(scaler, drawn_steps(seed=1, count=9, bad=0.3))
    assert saved["loss_scale"] == 2.0**16 and saved["good_steps"] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_unscaling_saves_what_the_dtype_alone_would_lose(dtype: torch.dtype) -> None:
    true = torch.tensor([3e-8, -1e-9, 2e-5, 0.5])  # float16's smallest number is 6e-8
    scaler = DynamicLossScaler(initial_scale=2.0**15)
    scaled = (true * 2.0**15).to(dtype)
    (unscaled,) = scaler.step([scaled]) or [None]
    assert unscaled is not None and unscaled.dtype == torch.float32
    torch.testing.assert_close(unscaled, true, rtol=1e-2, atol=0)


def test_a_large_but_finite_gradient_is_no_overflow() -> None:
    scaler = DynamicLossScaler()
    largest = torch.full((100,), torch.finfo(torch.float16).max, dtype=torch.float16)  # its sum and norm overflow
    assert scaler.step([largest]) is not None and scaler.good_steps == 1


def test_gradients_are_left_as_they_are_and_backward_runs_through_scale() -> None:
    scaler = DynamicLossScaler(initial_scale=8.0)
    weight = torch.tensor(3.0, requires_grad=True)
    scaler.scale(weight * weight).backward()
    assert weight.grad is not None and weight.grad.item() == 8 * 6
    (unscaled,) = scaler.step([weight.grad]) or [torch.tensor(0.0)]
    assert unscaled.item() == 6 and weight.grad.item() == 48


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial_scale": 0.0}, "initial_scale=0.0 must be positive"),
        ({"initial_scale": math.inf}, "initial_scale=inf must be positive and finite"),
        ({"growth_factor": 1.0}, "growth_factor=1.0 must be more than 1"),
        ({"backoff_factor": 1.0}, "backoff_factor=1.0 must be between 0 and 1"),
        ({"growth_interval": 0}, "growth_interval=0 must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynamicLossScaler(**settings)
