"""Lab 10, sealed: misconceptions about checkpointing and its schedule."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import memory

# ---- checkpoint ------------------------------------------------------------------------------------------------------


def saves_everything(function, *args, **kwargs):
    """A plain call."""
    return function(*args, **kwargs)


class OfArgumentsOnly(torch.autograd.Function):
    """Gradients of the arguments; whatever else the function uses gets none."""

    @staticmethod
    def forward(ctx, call, *args):
        ctx.call, ctx.state = call, torch.get_rng_state()
        ctx.save_for_backward(*args)
        return call(*args)

    @staticmethod
    def backward(ctx, *grads):
        given = [x.detach().requires_grad_(x.requires_grad) for x in ctx.saved_tensors]
        with torch.enable_grad(), torch.random.fork_rng([]):
            torch.set_rng_state(ctx.state)
            y = ctx.call(*given)
        wanted = [x for x in given if x.requires_grad]
        found = iter(torch.autograd.grad(y, wanted, grads))
        return None, *[next(found) if x.requires_grad else None for x in given]


def arguments_only(function, *args, **kwargs):
    tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
    if len(tensors) < len(args) + len(kwargs) or not torch.is_grad_enabled():
        return memory.checkpoint(function, *args, **kwargs)
    return OfArgumentsOnly.apply(function, *args)


CALLED = "outputs = _called(ctx.function, ctx.names, given)"
mistake = wrong(memory.checkpoint)
CHECKPOINT = [
    Misconception("saves everything", saves_everything,
        "Your peak is that of a plain call. What of the first call does autograd still hold?"),
    mistake("other random numbers",
        "Dropout drew a mask in the first call. Which one does it draw when the function runs again?",
        "torch.set_rng_state(self.state)", "pass"),
    mistake("chance goes on from the past",
        "After backward the program draws numbers that it has drawn before. Whose random state is left behind?",
        "stack.enter_context(torch.random.fork_rng(self.cuda))", "pass"),
    Misconception("gradients of arguments only", arguments_only,
        "The function uses weights that are none of its arguments. Who adds to their .grad?"),
    mistake("nothing without an argument that needs one",
        "Where no argument requires a gradient, autograd sees no reason to call backward. What could give it one?",
        "anchor = torch.empty(0, requires_grad=True)", "anchor = torch.empty(0)"),
    mistake("arguments by name are left out", "A tensor that comes by name may require a gradient too.",
        "names, given[positional:], strict=True)",
        "names, [x.detach() if isinstance(x, torch.Tensor) else x for x in given[positional:]], strict=True)"),
    mistake("autocast of backward",
        "In which dtype was the product in the first call, and in which is it when it runs again?",
        "stack.enter_context(torch.autocast(kind, dtype, enabled))", "pass"),
    mistake("gradients where they are off",
        "Under no_grad nobody will ask for a gradient. Does your result say that one is to be had?",
        "if not torch.is_grad_enabled():\n        return function(*args, **kwargs)", "",
        "return _Checkpoint.apply(function", "with torch.enable_grad():\n        return _Checkpoint.apply(function"),
    mistake("runs twice to go back", "Count the calls in backward. Is one run again not enough?",
        CALLED, f"_called(ctx.function, ctx.names, given)\n            {CALLED}"),
]  # fmt: skip

# ---- optimal_checkpoints ---------------------------------------------------------------------------------------------


def square_root(inputs, saved, seconds, limit):
    """About sqrt(n) segments of one length, whatever they hold."""
    if limit < memory.least_peak(inputs, saved):
        raise ValueError
    layers = len(saved)
    if sum(saved) <= limit:
        return []
    return memory.even_segments(layers, max(1, round(layers**0.5)))


def largest_first(inputs, saved, seconds, limit):
    """Single layers, those that keep most first, until what is kept fits."""
    if limit < memory.least_peak(inputs, saved):
        raise ValueError
    chosen = []
    for layer in sorted(range(len(saved)), key=lambda k: inputs[k] - saved[k]):
        if memory.peak_of(inputs, saved, [(k, k + 1) for k in sorted(chosen)]) <= limit:
            break
        chosen.append(layer)
    return [(k, k + 1) for k in sorted(chosen)]


def cheapest_first(inputs, saved, seconds, limit):
    """Single layers, those that cost least first."""
    if limit < memory.least_peak(inputs, saved):
        raise ValueError
    chosen = []
    for layer in sorted(range(len(saved)), key=lambda k: seconds[k] / max(saved[k] - inputs[k], 1)):
        if memory.peak_of(inputs, saved, [(k, k + 1) for k in sorted(chosen)]) <= limit:
            break
        chosen.append(layer)
    return [(k, k + 1) for k in sorted(chosen)]


KEPT = "best(start + 1, held + saved[start])"
mistake = wrong(memory.optimal_checkpoints)
SCHEDULE = [
    Misconception("the square root", square_root,
        "About sqrt(n) equal segments is what one takes for layers that are all alike. What limit is yours?"),
    Misconception("the largest first", largest_first,
        "You give up single layers, the largest first. What do they cost again, and what does a longer segment save?"),
    Misconception("the cheapest first", cheapest_first,
        "A choice that is the best for each layer by itself need not be the best for all. Which problems does the rest "
        "of the chain pose, once the first segment is chosen?"),
    mistake("every layer runs again", "May a layer also keep what it has?",
        f"choices.append({KEPT})", "choices.append((math.inf, []))"),
    mistake("counts the bytes instead", "What is to be least: seconds, or layers that run again?",
        "again + seconds[stop - 1]", "again + 1"),
    mistake("the second run is free",
        "When backward comes to a segment, it runs again, and then its layers' bytes are all there. Do they fit?",
        "            if held + own > limit:\n                break\n", ""),
    mistake("what is kept costs its input only",
        "A layer that keeps everything: what is held while those after it run?",
        KEPT, "best(start + 1, held + inputs[start])"),
    mistake("its own input twice", "A segment's first layer has its input among its bytes. Is it counted once?",
        "if held + own > limit", "if held + own + inputs[start] > limit"),
    mistake("a segment keeps its last input", "What does a segment need to run again from its beginning?",
        "best(stop, held + inputs[start])", "best(stop, held + inputs[stop - 1])"),
    mistake("segments go free", "Each segment keeps one thing until backward comes. Where is it in your sum?",
        "best(stop, held + inputs[start])", "best(stop, held)"),
    mistake("nothing where nothing fits", "No choice fits. Is a schedule that breaks the limit an answer?",
        "if math.isinf(found):", "if False:"),
]  # fmt: skip
