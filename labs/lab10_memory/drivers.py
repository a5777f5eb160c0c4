"""How lab 10's exercises are called. Read it to see what a case asks of your classes and functions."""

import contextlib
import gc
import json
import math
import operator
import weakref

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mlsys_course.desk.check import Tree, driver, kept, raised, sampled
from mlsys_course.desk.check.tree import map_tensors

DEFAULTS = {"initial_scale": 2.0**16, "growth_factor": 2.0, "backoff_factor": 0.5}


def training_step(scaler, step, dtype, unit):
    """One step of mixed precision around ``scaler``, and what can be seen of it."""
    loss = step["loss"].clone().requires_grad_()
    scaled = scaler.scale(loss)
    # What backward multiplies every gradient with. The true gradients are given; a real model would compute them.
    (factor,) = torch.autograd.grad(scaled, loss)
    given = [(gradient * factor).to(dtype) for gradient in step["gradients"]]
    handed, before = list(given), [gradient.clone() for gradient in given]
    returned = scaler.step(handed)
    same = len(handed) == len(given) and all(map(torch.Tensor.is_set_to, handed, given))
    return {
        "given": kept(
            same and all(torch.equal(g.nan_to_num(), b.nan_to_num()) for g, b in zip(given, before, strict=True))
        ),
        "a list": returned is None or isinstance(returned, list | tuple),
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
    for _ in range(case.get("calm", 0)):
        scaler.step([])
    others = [candidate(growth_interval=2, initial_scale=2.0**n) for n in range(case.get("others", 0))]

    def run(scaler, steps):
        rows = []
        for step in steps:
            rows.append(training_step(scaler, step, dtype, case["unit"]))
            for other in others:  # which go their own way
                rows[-1]["others"] = [*rows[-1].get("others", []), float(other.loss_scale)]
                other.step(step["gradients"])
        return rows

    cut = case.get("resume_at", len(steps))
    rows = run(scaler, steps[:cut])
    if cut < len(steps):
        state = scaler.state_dict()
        run(scaler, steps[cut:])  # the first run goes on, and what was saved must not move with it
        resumed = candidate(initial_scale=4.0, growth_factor=8.0, backoff_factor=0.125, growth_interval=97)
        loaded = json.loads(json.dumps(state))
        resumed.load_state_dict(loaded)
        rows += run(resumed, steps[cut:])
        rows[-1]["state"] = kept(loaded == json.loads(json.dumps(state)))
        if "state" in case["returns"]:
            return {"loss_scale": [row["loss_scale"] for row in rows], "the state loaded": rows[-1]["state"]}
    return {name: [row[name] for row in rows] for name in case["returns"]}


@driver
def chunked_cross_entropy(candidate, case):
    """The results that the case names; of the gradients every so manieth row, and a mean of all."""
    if case["returns"] == ["chunks"]:
        return {"no more logits than of a chunk": most_rows(candidate, case) <= case["settings"]["chunk"]}
    results = candidate(case["hidden"], case["weight"], case["targets"], **case["settings"])
    named = dict(zip(["loss", "grad_hidden", "grad_weight"], results, strict=True))
    # The mean over many tokens makes gradients small, and outputs compare by an absolute tolerance too.
    unit = len(case["targets"])
    return {
        name: named[name] if name == "loss" else map_tensors(sampled(named[name], case["every"]), lambda x: x * unit)
        for name in case["returns"]
    }


class Rows(TorchDispatchMode):
    """Of how many tokens the largest tensor is that has a number for each word."""

    def __init__(self, words):
        super().__init__()
        self.words, self.most = words, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor) and self.words in one.shape:
                self.most = max(self.most, one.numel() // self.words)
        return found


def most_rows(candidate, case):
    """Of how many tokens there are logits at a time. Hidden states are so thin that the weight itself is less."""
    with Rows(len(case["weight"])) as rows:
        candidate(case["hidden"], case["weight"], case["targets"], **case["settings"])
    return rows.most


def leaf(tensor):
    """A parameter of its own."""
    return tensor.clone().requires_grad_()


# ---- a step in pieces, and in 16 bits --------------------------------------------------------------------------------


@driver
def accumulate(candidate, case):
    """The loss, the gradients, and what would leave for the other ranks: .grad at each pass that is not in no_sync."""
    weights = [leaf(case["weight"]), leaf(case["bias"])]
    batches = list(zip(case["inputs"], case["targets"], strict=True))
    waiting, sent, passes = [], [], []
    handed = list(batches)

    @contextlib.contextmanager
    def no_sync():
        waiting.append(True)
        yield
        waiting.pop()

    def sends(parameter):
        passes.append(True)
        if not waiting and case.get("synchronized"):
            sent.append(parameter.grad.clone())

    weights[0].register_post_accumulate_grad_hook(sends)

    def loss(x, y):
        logits = x @ weights[0]
        for _ in range(case.get("layers", 1)):
            logits = logits.tanh()
        logits = (logits + weights[1]).reshape(-1, logits.shape[-1])
        mean = F.cross_entropy(logits, y.reshape(-1).long(), ignore_index=case.get("ignore_index", -100))
        return mean.to(getattr(torch, case["loss_dtype"])) if "loss_dtype" in case else mean

    found = {}
    for call in range(case.get("calls", 1)):
        rest = {"no_sync": no_sync} if case.get("synchronized") else {}
        rest |= {"ignore_index": case["ignore_index"]} if "ignore_index" in case else {}
        found[f"loss {call + 1}"] = candidate(loss, handed, **rest)
        left = len(handed) == len(batches) and all(map(operator.is_, handed, batches))
        found[f"the list given {call + 1}"] = kept(left)
    grads = [weight.grad for weight in weights]
    if case["look_at"] == "loss":
        graphs = [isinstance(one, torch.Tensor) and one.requires_grad for one in found.values()]
        return {**found, "has a graph": any(graphs)}
    if case["look_at"] == "passes":
        return {"backward passes": len(passes), "gradients": ["untouched" if g is None else g for g in grads]}
    if case["look_at"] == "memory":
        return {"gradient": sampled(weights[1].grad, 64)}
    return {"gradients": ["untouched" if grad is None else grad for grad in grads], "sent": sent}


class FixedScale:
    """The scaler's interface, with a scale that stays."""

    def __init__(self, loss_scale):
        self.loss_scale, self.seen = loss_scale, []

    def step(self, gradients):
        self.seen.append(len(gradients))
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            return None
        return [gradient.float() / self.loss_scale for gradient in gradients]


@driver
def MixedPrecisionStep(candidate, case):
    """Over the case's steps: which were taken; at the end the parameters, the masters, and whether .grad is left."""
    parameters = [leaf(x) for x in case["parameters"]]
    kinds = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}

    made, steps = [], []

    def make_optimizer(masters):
        made.append(kinds[case["optimizer"]](masters, **case["settings"]))
        made[-1].register_step_post_hook(lambda *_: steps.append(True))
        return made[-1]

    scale = case.get("loss_scale")
    scaler, memory, handed = FixedScale(scale) if scale else None, [p.detach() for p in parameters], list(parameters)
    rest = {"max_norm": case["max_norm"]} if "max_norm" in case else {}
    mixed = candidate(handed, make_optimizer, scaler, **rest)
    taken, left, held = [], [], []
    for gradients in case["steps"]:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if isinstance(gradient, str) else gradient.clone()
            held += [] if isinstance(gradient, str) else [(parameter.grad, gradient)]
        taken.append(mixed.step())
        left.append(any(parameter.grad is not None for parameter in parameters))
    same = all(torch.equal(one.nan_to_num(), was.nan_to_num()) for one, was in held)
    masters = [master.detach() for master in mixed.masters]
    pairs = list(zip(masters, parameters, strict=True))
    return {
        "taken": taken,
        "masters": masters,
        "parameters are the masters, rounded": [bool(torch.equal(m.to(p.dtype), p)) for m, p in pairs],
        "a gradient is left": left,
        "a master is a parameter": any(m.is_set_to(p) for m, p in pairs),
        "in place": all(torch.equal(p.nan_to_num(), m.nan_to_num()) for p, m in zip(parameters, memory, strict=True)),
        "optimizers, and their steps": [len(made), len(steps)],
        "the scaler's gradients": scaler.seen if scaler else [],
        "what was given": kept(same and len(handed) == len(parameters)),
    }


# ---- run it again ----------------------------------------------------------------------------------------------------


class Kinks(nn.Module):
    """One operator after the other, each of which keeps a tensor."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        for _ in range(self.count):
            x = x.relu()
        return x


def dropped(x):
    """With its own dropout, so that the same random numbers give the same result everywhere."""
    return x * (torch.rand(x.shape) < 0.5) * torch.rand(())


def of_all_kinds(x, index, power, *, weight, shift=0.0, names=()):
    """Two results, of which one has no gradient."""
    rows = x[index] @ weight + shift + len(names)
    return rows.tanh() ** power, index + 1


def plain_and_checkpointed(candidate, case, function):
    """What a plain call and one through the candidate come to: results, gradients, and what chance does next."""
    both = []
    for call in (lambda f, *args, **kwargs: f(*args, **kwargs), candidate):
        x = leaf(case["x"])
        torch.manual_seed(case["seed"])
        y = x
        for _ in range(case.get("times", 1)):
            y = call(function, y)
        between = torch.rand(3)
        y.square().sum().backward()
        both.append({"result": y.detach(), "gradient": x.grad, "next": torch.cat([between, torch.rand(3)])})
    return {name: both[1][name] - both[0][name] for name in both[0]}


def checkpoint_values(candidate, case):
    """Result and gradients, of an argument and of a weight that the function has from elsewhere."""
    x, weight = case["x"].clone(), case["weight"].clone()
    x.requires_grad_(case.get("x_wants", True))
    weight.requires_grad_(case.get("weight_wants", True))
    calls = []

    def function(x):
        calls.append(torch.is_grad_enabled())
        return (x @ weight).tanh()

    with torch.set_grad_enabled(not case.get("no_grad")):
        y = candidate(function, x)
    before = len(calls)
    if case.get("no_grad"):
        return {"result": y.detach(), "requires a gradient": bool(y.requires_grad)}
    y.square().sum().backward()
    if case["look_at"] == "calls":
        return {"calls in forward": before, "calls in backward": len(calls) - before}
    grads = ["none" if grad is None else grad for grad in (x.grad, weight.grad)]
    return {"result": y.detach(), "gradients": grads}


def checkpoint_arguments(candidate, case):
    """Arguments of several kinds, by position and by name, and two results."""
    x, weight = leaf(case["x"]), leaf(case["weight"])
    names = ["a", "b"]
    y, places = candidate(
        of_all_kinds, x, case["index"], case["power"], weight=weight, shift=case["shift"], names=names
    )
    y.sum().backward()
    left = kept(names == ["a", "b"])
    return {"results": [y.detach(), places], "gradients": [x.grad, weight.grad], "the list given": left}


def checkpoint_nested(candidate, case):
    """One inside the other, and one after the other."""
    x, weight = leaf(case["x"]), leaf(case["weight"])

    def outer(x):
        return candidate(lambda y: (y @ weight).sin(), x).exp() + candidate(torch.cos, 2 * x)

    y = candidate(outer, candidate(torch.tanh, x))
    y.sum().backward()
    return {"result": y.detach(), "gradients": [x.grad, weight.grad]}


def checkpoint_autocast(candidate, case):
    """The dtypes in which a product ran, first and again; backward runs under the other setting."""
    x, weight, seen = leaf(case["x"]), leaf(case["weight"]), []

    def function(x):
        y = x @ weight
        seen.append(str(y.dtype))
        return y.float().sum()

    with torch.autocast("cpu", getattr(torch, case.get("dtype", "bfloat16")), case["enabled"]):
        y = candidate(function, x)
    with torch.autocast("cpu", torch.bfloat16, not case["enabled"]):
        y.backward()
    return {"dtypes": seen}


def checkpoint_results(candidate, case):
    """Results of several kinds, some of which have no part in the loss."""
    x, weight = leaf(case["x"]), leaf(case["weight"])
    x.grad, weight.grad = torch.ones_like(x), torch.ones_like(weight)
    kinds = {
        "one": lambda x: ((x @ weight).tanh(),),
        "two": lambda x: ((x @ weight).tanh(), x.exp()),
        "three": lambda x: (x.argmax(-1), (x @ weight).sin(), x.mean() * weight),
        "constant": lambda x: (torch.ones(2, dtype=x.dtype), (x @ weight).cos()),
    }
    results = candidate(kinds[case["kind"]], x)
    found = {"a tuple": isinstance(results, tuple), "results": [y.detach() for y in results]}
    found["requires a gradient"] = bool(results[case["used"]].requires_grad)
    results[case["used"]].square().sum().backward()
    return {**found, "gradients": [x.grad, weight.grad]}


def checkpoint_twice(candidate, case):
    """One tensor in several places, by position and by name; and one that is a view of another."""
    x, weight = leaf(case["x"]), leaf(case["weight"])
    y = candidate(lambda a, b, c, *, d: (a * b.sin()).sum() * d.exp() + c, x, x, x, d=x)
    (y + candidate(lambda w, t: w @ t, weight, weight.mT).sum()).sum().backward()
    return {"result": y.detach(), "gradients": [x.grad, weight.grad]}


def checkpoint_none_given(candidate, case):
    """No tensor among the arguments: what autograd keeps, and how often the function is called."""
    weight, calls = leaf(case["weight"]), []

    def function(power, names=()):
        calls.append(torch.is_grad_enabled())
        return (weight @ weight).tanh() ** power + len(names)

    y = candidate(function, case["power"]) if case["positional"] else candidate(function, power=case["power"])
    before = len(calls)
    y.sum().backward()
    return {"result": y.detach(), "gradient": weight.grad, "calls": [before, len(calls) - before]}


def checkpoint_frees(candidate, case):
    """Whether anybody still holds the arguments when all is over."""
    x, weight = leaf(case["x"]), leaf(case["weight"])
    given = [x * 2, weight * 3]
    watched = [weakref.ref(one) for one in given]
    y = candidate(lambda x, weight: (x @ weight).tanh(), given[0], weight=given[1])
    y.sum().backward()
    del y, given
    if any(one() is not None for one in watched):
        gc.collect()
    return {"arguments are held": any(one() is not None for one in watched), "gradients": [x.grad, weight.grad]}


def checkpoint_memory(candidate, case):
    """Segments of many operators each, of numbers that are all different."""
    x = case["x"].repeat(case["repeats"])
    x = (x + torch.linspace(-0.5, 0.5, len(x), dtype=x.dtype)).requires_grad_()
    y, segment = x, Kinks(case["kinks"])
    for _ in range(case["segments"]):
        y = candidate(segment, y)
    (y * y).sum().backward()
    return {"gradient": sampled(x.grad, 4096)}


LOOKS = {
    "values": checkpoint_values,
    "calls": checkpoint_values,
    "arguments": checkpoint_arguments,
    "nested": checkpoint_nested,
    "autocast": checkpoint_autocast,
    "results": checkpoint_results,
    "twice": checkpoint_twice,
    "none given": checkpoint_none_given,
    "frees": checkpoint_frees,
    "memory": checkpoint_memory,
}


@driver
def checkpoint(candidate, case):
    """What the case looks at."""
    if case["look_at"] == "chance":
        return plain_and_checkpointed(candidate, case, dropped)
    return LOOKS[case["look_at"]](candidate, case)


@driver
def optimal_checkpoints(candidate, case):
    """What the segments come to: seconds lost and whether the peak is within the limit; or what is raised."""
    rows = [case["inputs"], case["saved"], case["seconds"]]
    found = []
    for limit in case["limits"]:
        if case.get("refused"):
            found.append({"raised": raised(candidate, *rows, limit)})
            continue
        segments = [(int(start), int(stop)) for start, stop in candidate(*rows, limit)]
        lost = sum(sum(case["seconds"][start:stop]) for start, stop in segments)
        edges = [edge for segment in segments for edge in segment]
        fits = edges == sorted(edges) and peak(case["inputs"], case["saved"], segments) <= limit
        found.append({"within the limit": bool(fits)})
        if case["look_at"] == "least":
            found[-1]["seconds again"] = float(lost) / case.get("unit", 1.0)
    return {f"limit {limit}": one for limit, one in zip(case["limits"], found, strict=True)}


def peak(inputs, saved, segments):
    """Bytes at the peak: forward from layer to layer, then backward."""
    starts, held, layer = dict(segments), [], 0
    while layer < len(saved):
        stop = starts.get(layer, layer + 1)
        held.append((inputs[layer] if layer in starts else saved[layer], sum(saved[layer:stop])))
        layer = stop
    return max((sum(kept for kept, _ in held[:n]) + whole for n, (_, whole) in enumerate(held)), default=0)


# ---- where the bytes lie ---------------------------------------------------------------------------------------------


@driver
def CachingAllocator(candidate, case):
    """After each of the case's actions: the address, or what was raised; at the end what the device gave."""
    keys = ("size", "in_use", "largest_hole")
    allocator = candidate(case["capacity"], case["segment_size"], **case.get("settings", {}))
    addresses, found, history = {}, [], []

    def noted():
        rows = allocator.segments()
        sums = [sum(int(row[key]) * (n + 1) for n, row in enumerate(rows)) for key in keys]
        history.append([int(allocator.reserved), int(allocator.in_use), len(rows), *sums])

    for name, size in case["actions"]:
        if "history" in case["look_at"]:
            noted()
        if size == "free":
            found.append(raised(allocator.free, addresses.get(name, case.get("nowhere", 0))))
            continue
        said = {}

        def allocate(size=size, said=said):
            said["address"] = allocator.allocate(size)

        error = raised(allocate)
        found.append(int(said["address"]) if said else error)
        addresses.update({name: said["address"]} if said else {})
    rows = [{key: int(segment[key]) for key in keys} for segment in allocator.segments()]
    totals = {"reserved": int(allocator.reserved), "in use": int(allocator.in_use)}
    looks = {"addresses": found, "segments": rows, "totals": totals, "history": history}
    return {name: looks[name] for name in case["look_at"]}


# ---- adapters --------------------------------------------------------------------------------------------------------


def adapter(candidate, case):
    """A layer with what the case says, and B as after some training."""
    weight, bias = case["weight"], case.get("bias")
    if "base" in case:  # numbers that are exact in 16 bits, so that where it rounds is seen
        weight, bias = [x if x is None else x.to(getattr(torch, case["base"])) for x in (weight, bias)]
    base = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        base.weight.copy_(weight)
        if bias is not None:
            base.bias.copy_(bias)
    layer = candidate(base, case["a"], case["alpha"])
    if "b" in case:
        with torch.no_grad():
            layer.b.copy_(case["b"])
    return base, layer


def lora_merging(layer, base, case):
    """Merged and back, as often as the case says."""
    before, x = base.weight.clone(), case["x"].to(base.weight.dtype)
    weight, outputs, same = base.weight, [], []
    view = weight.detach()  # another layer may hold it too
    for _ in range(case["times"]):
        layer.merge()
        same.append(base.weight is weight and layer.base is base and bool(torch.equal(view, base.weight)))
        outputs += [base.weight.clone(), layer(x).detach()]
        layer.unmerge()
        same.append(base.weight is weight and bool(torch.equal(view, before)))
        with torch.no_grad():  # it goes on
            layer.b.mul_(-0.5)
            layer.a.add_(1.0)
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    after = layer(x).detach()
    return {"merged": outputs, "bit for bit": same, "after": after, "frozen": frozen}


class Named(nn.Linear):
    """A linear layer of somebody's own."""


def lora_misuse(candidate, layer):
    """What is raised."""
    again = raised(layer.unmerge)
    layer.merge()
    twice = raised(layer.merge)
    layer.unmerge()
    again_too = raised(layer.unmerge)
    other = raised(candidate, nn.Conv1d(2, 2, 1), torch.ones(1, 2), 1.0)
    said = {"unmerge": again, "merge twice": twice, "unmerge twice": again_too, "Conv1d": other}
    others = [nn.Embedding(2, 2), nn.Bilinear(2, 2, 2), nn.LayerNorm(2), nn.Sequential(nn.Linear(2, 2)), Named(2, 2)]
    said |= {type(one).__name__: raised(candidate, one, torch.ones(1, 2), 1.0) for one in others}
    return {name: {"raised": one} for name, one in said.items()}


@driver
def LoRALinear(candidate, case):
    """Forward; or a few steps of training; or merging; or what is raised."""
    base, layer = adapter(candidate, case)
    look, before = case["look_at"], base.weight.clone()
    if look == "merging":
        return lora_merging(layer, base, case)
    if look == "misuse":
        return lora_misuse(candidate, layer)
    x = leaf(case["x"].to(base.weight.dtype))
    if look == "forward":
        return {"output": layer(x).detach()}
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    first, optimizer = layer.b.detach().clone(), torch.optim.SGD(trained, lr=0.1)
    for _ in range(case["times"]):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    return {
        "trained numbers": sum(parameter.numel() for parameter in trained),
        "adapter": [layer.a.detach(), layer.b.detach()],
        "gradient of x": x.grad,
        "the base stays": bool(torch.equal(base.weight, before)) and base.weight.grad is None,
        "b at first, and the base": [first, layer.base is base],
        "a stays with who gave it": not layer.a.detach().is_set_to(case["a"]),
    }


# ---- fewer bits at rest ----------------------------------------------------------------------------------------------


@driver
def quantize_blocks(candidate, case):
    """What the case looks at: codes, with what dtype they have, or scales; or what is raised."""
    x, levels, block = case["x"], case["levels"], case["block"]
    if "bad" in case:
        x = torch.cat([x[:-1], torch.tensor([case["bad"]])])
        return {"raised": raised(candidate, x, levels, block)}
    codes, scales = candidate(x, levels, block)
    return {"codes": codes} if case["look_at"] == "codes" else {"scales": scales}


def coarse(x, signed):
    """A packing of the driver's own, with two decimals, and a third where there is no sign."""
    return {"packed": (x * (100 if signed else 100_000)).round(), "signed": signed}


def widened(packed):
    return packed["packed"] / (100 if packed["signed"] else 100_000)


@driver
def blockwise_adamw(candidate, case):
    """The parameter after each step, and the state after the last."""
    parameter, state, found = case["parameter"], None, []
    for step, gradient in enumerate(case["gradients"], 1):
        rest = (case["lr"], case["weight_decay"], coarse, widened)
        parameter, state = candidate(parameter, gradient, state, step, *rest)
        found.append(parameter)
    return {"parameters": found, "state": [widened(packed) for packed in state], "signs": [p["signed"] for p in state]}
