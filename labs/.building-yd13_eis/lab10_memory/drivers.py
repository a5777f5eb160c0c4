"""How lab 10's exercises are called. Read it to see what a case asks of your class and your function."""

import json
import math

import torch

from mlsys_course.desk.check import Tree, driver

DEFAULTS = {"initial_scale": 2.0**16, "growth_factor": 2.0, "backoff_factor": 0.5}


def training_step(scaler, step, dtype, unit):
    """One step of mixed precision around ``scaler``, and what can be seen of it."""
    loss = step["loss"].clone().requires_grad_()
    scaled = scaler.scale(loss)
    # What backward multiplies every gradient with. The true gradients are given; a real model would compute them.
    (factor,) = torch.autograd.grad(scaled, loss)
    returned = scaler.step([(gradient * factor).to(dtype) for gradient in step["gradients"]])
    return {
        "scaled_loss": scaled,
        "skipped": returned is None,
        # Gradients are tiny, and outputs compare by an absolute tolerance too: look at them in a larger unit.
        "gradients": None if returned is None else [gradient * unit for gradient in returned],
        "loss_scale": float(scaler.loss_scale),
    }


def stays_a_power_of_two(inputs: Tree, outputs: Tree) -> str | None:
    """With factors that are powers of two, scaling changes exponents only and costs no precision."""
    settings = {**DEFAULTS, **inputs["settings"]}
    if any(math.frexp(settings[name])[0] != 0.5 for name in ("initial_scale", "growth_factor", "backoff_factor")):
        return None
    for number, scale in enumerate(outputs.get("loss_scale", [])):
        if scale <= 0 or math.frexp(scale)[0] != 0.5:
            return f"loss_scale is {scale} after step {number}"
    return None


@driver(properties={"a power of two": stays_a_power_of_two})
def DynamicLossScaler(candidate, case):
    """The columns that the case names, over its steps; with ``resume_at``, over a restart from a checkpoint."""
    scaler, steps = candidate(**case["settings"]), case["steps"]
    dtype = getattr(torch, case["dtype"])

    def run(scaler, steps):
        return [training_step(scaler, step, dtype, case["unit"]) for step in steps]

    cut = case.get("resume_at", len(steps))
    rows = run(scaler, steps[:cut])
    if cut < len(steps):
        state = scaler.state_dict()
        run(scaler, steps[cut:])  # the first run goes on, and what was saved must not move with it
        resumed = candidate(initial_scale=4.0, growth_factor=8.0, backoff_factor=0.125, growth_interval=97)
        resumed.load_state_dict(json.loads(json.dumps(state)))
        rows += run(resumed, steps[cut:])
    return {name: [row[name] for row in rows] for name in case["returns"]}


@driver
def chunked_cross_entropy(candidate, case):
    """The results that the case names; of the gradients every so manieth row."""
    results = candidate(case["hidden"], case["weight"], case["targets"], **case["settings"])
    named = dict(zip(["loss", "grad_hidden", "grad_weight"], results, strict=True))
    # The mean over many tokens makes gradients small, and outputs compare by an absolute tolerance too.
    unit = len(case["targets"])
    return {name: named[name] if name == "loss" else named[name][:: case["every"]] * unit for name in case["returns"]}
