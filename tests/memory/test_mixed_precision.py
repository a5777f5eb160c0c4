"""``MixedPrecisionStep`` against PyTorch's optimizers on float32 weights, its scaler, and its clipping."""

import pytest
import torch

from mlsys_course.memory import DynamicLossScaler, MixedPrecisionStep

HALVES = [torch.float16, torch.bfloat16]


def adamw(masters):
    return torch.optim.AdamW(masters, lr=1e-2)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("max_norm", [None, 0.5, 100.0])
def test_masters_move_as_float32_weights_would(dtype, max_norm, normal):
    model = [normal(3, 4).to(dtype).requires_grad_(), normal(5).to(dtype).requires_grad_()]
    reference = [p.detach().float().requires_grad_() for p in model]
    mixed, theirs = MixedPrecisionStep(model, adamw, max_norm=max_norm), adamw(reference)
    for _ in range(5):
        for ours, other in zip(model, reference, strict=True):
            ours.grad = normal(*ours.shape).to(dtype)
            other.grad = ours.grad.float()
        if max_norm:
            torch.nn.utils.clip_grad_norm_(reference, max_norm)
        theirs.step()
        assert mixed.step()
    for ours, master, other in zip(model, mixed.masters, reference, strict=True):
        torch.testing.assert_close(master, other, atol=2e-6, rtol=2e-6)
        assert ours.grad is None and master.dtype == torch.float32
        torch.testing.assert_close(ours, master.to(dtype), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_small_updates_add_up_in_the_masters(dtype):
    weight = torch.ones(3, dtype=dtype, requires_grad=True)
    mixed = MixedPrecisionStep([weight], lambda masters: torch.optim.SGD(masters, lr=1e-4))
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        mixed.step()
    torch.testing.assert_close(mixed.masters[0], torch.full((3,), 0.99), atol=1e-5, rtol=0)
    torch.testing.assert_close(weight.float(), torch.full((3,), 0.99).to(dtype).float(), atol=0, rtol=0)


def test_an_overflow_in_the_first_step_changes_nothing(normal):
    weight = normal(4).half().requires_grad_()
    before, scaler = weight.detach().clone(), DynamicLossScaler(2.0**10)
    mixed = MixedPrecisionStep([weight], adamw, scaler)
    weight.grad = torch.tensor([1.0, torch.inf, 0.0, 0.0]).half()
    assert mixed.step() is False and weight.grad is None
    assert torch.equal(weight, before) and not mixed.optimizer.state and scaler.loss_scale == 2.0**9
    scaler.scale((weight.float() * 3).sum()).backward()
    assert mixed.step() is True and not torch.equal(weight, before)


def test_scaled_and_clipped_as_amp_does_it(normal):
    weight = normal(6).half().requires_grad_()
    master = weight.detach().float().requires_grad_()
    mixed = MixedPrecisionStep(
        [weight], lambda m: torch.optim.SGD(m, lr=0.1), DynamicLossScaler(2.0**10), max_norm=0.25
    )
    amp, sgd = torch.amp.GradScaler("cpu", init_scale=2.0**10), torch.optim.SGD([master], lr=0.1)
    for _ in range(3):
        gradient = (normal(6) * 2.0**10).half()
        weight.grad, master.grad = gradient.clone(), gradient.float()
        amp.scale(torch.zeros(()))
        amp.unscale_(sgd)
        torch.nn.utils.clip_grad_norm_([master], 0.25)
        amp.step(sgd)
        amp.update()
        mixed.step()
    torch.testing.assert_close(mixed.masters[0], master, atol=1e-6, rtol=1e-5)


def test_what_has_no_gradient_stays(normal):
    used, unused = normal(3).half().requires_grad_(), normal(3).half().requires_grad_()
    before = unused.detach().clone()
    mixed = MixedPrecisionStep([used, unused], adamw)
    used.grad = torch.ones_like(used)
    assert mixed.step()
    assert torch.equal(unused, before) and mixed.masters[1] not in mixed.optimizer.state
    assert mixed.step() and not any(p.grad is not None for p in mixed.masters)
