"""Lab 10, sealed: misconceptions about accumulation and the step with float32 masters."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import memory
from mlsys_course.memory import MixedPrecisionStep

# ---- accumulate ------------------------------------------------------------------------------------------------------


def one_backward_at_the_end(loss, micro_batches, ignore_index=-100, no_sync=None):
    """Right, and all activations are alive when it begins."""
    counts = [int((y != ignore_index).sum()) for _, y in micro_batches]
    shares = [loss(x, y) * (n / sum(counts)) for (x, y), n in zip(micro_batches, counts, strict=True) if n]
    if not shares:
        return torch.zeros(())
    total = torch.stack(shares).sum()
    total.backward()
    return total.detach()


SHARE, LAST = "count / tokens", "n < len(counted)"
COUNTED = "for batch, count in zip(micro_batches, counts, strict=True) if count"
mistake = wrong(memory.accumulate)
ACCUMULATE = [
    mistake("the mean of the means",
        "A micro-batch with one token moves the weights as much as one with eight. What does one large batch do?",
        SHARE, "1 / len(counted)"),
    mistake("the sum of the means",
        "Your gradients grow with the number of micro-batches. What does a learning rate see that was found for one?",
        SHARE, "1"),
    mistake("padding counts", "By how many tokens do you weigh a micro-batch that is half padding?",
        "int((targets != ignore_index).sum())", "targets.numel()"),
    mistake("always -100", "Which number marks padding? The caller may say another.",
        "targets != ignore_index", "targets != -100"),
    mistake("nothing over nothing", "The mean over no token is NaN. What is 0 times NaN?",
        COUNTED, "for batch, count in zip(micro_batches, counts, strict=True) if count or sum(counts)"),
    mistake("the last one's loss", "Is what you return the loss of the last micro-batch, or that of all?",
        "total.to(share) + share.detach()", "loss(inputs, targets).detach()"),
    mistake("all of them leave", "How many messages does an accumulated step need?",
        f"no_sync() if {LAST} else nullcontext()", "nullcontext()"),
    mistake("none leaves", "Inside no_sync nothing is sent. In which backward pass are the gradients complete?",
        LAST, "n <= len(counted)"),
    mistake("the first one leaves", "What has .grad at the end of the first backward pass, and what after the last?",
        LAST, "n > 1"),
    Misconception("one backward at the end", one_backward_at_the_end,
        "Your peak is that of all micro-batches' activations together. When are the first one's let go?"),
]  # fmt: skip

# ---- MixedPrecisionStep ----------------------------------------------------------------------------------------------


class NoMasters(MixedPrecisionStep):
    """The optimizer works on the parameters themselves, in 16 bits."""

    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters = self.masters = list(parameters)
        self.optimizer = make_optimizer(self.masters)
        self.scaler, self.max_norm = scaler, max_norm

    def step(self):
        used = [p for p in self.parameters if p.grad is not None]
        given = [p.grad for p in used]
        for p in self.parameters:
            p.grad = None
        gradients = self.scaler.step(given) if self.scaler else [g.float() for g in given]
        if gradients is None:
            return False
        for p, g in zip(used, self._clipped(gradients), strict=True):
            p.grad = g.to(p.dtype)
        self.optimizer.step()
        for p in used:
            p.grad = None
        return True


CLIPPED = "self._clipped(gradients)"
mistake = wrong(MixedPrecisionStep)
MIXED = [
    Misconception("no masters", NoMasters,
        "Add 0.0001 to a float16 number near 1, a thousand times. What has become of it?"),
    mistake("masters are rounded too",
        "After each step your masters are what the parameters are. What is left of an update that is too small for 16 "
        "bits?", "parameter.copy_(master)", "parameter.copy_(master)\n                master.copy_(parameter)"),
    mistake("parameters stay",
        "The masters move. Which tensors does the model hold, and what is in them at the next forward pass?",
        "parameter.copy_(master)", "pass"),
    mistake("steps on an overflow", "What of the optimizer's momentum may move in a step that is skipped?",
        "            return False\n", "            gradients = [torch.zeros_like(g).float() for g in scaled]\n"),
    mistake("a skipped step is told as taken", "What does `step` return where the scaler said None?",
        "return False", "return True"),
    mistake("gradients stay", "What will the next backward pass add its gradients to?",
        "            parameter.grad = None\n", "            pass\n"),
    mistake("none becomes zero",
        "A parameter without a gradient has no part in the step. Does weight decay, or momentum, move yours?",
        "used = [pair for pair in zip(self.parameters, self.masters, strict=True) if pair[0].grad is not None]",
        "used = list(zip(self.parameters, self.masters, strict=True))",
        "scaled = [parameter.grad for parameter, _ in used if parameter.grad is not None]",
        "scaled = [torch.zeros_like(p) if p.grad is None else p.grad for p, _ in used]"),
    mistake("clips what is scaled",
        "With a loss scale of 1,000 every gradient looks a thousand times longer. When do you look at the norm?",
        "self.scaler.step(scaled)", f"self.scaler.step({CLIPPED.replace('gradients', 'scaled')})",
        f"zip(used, {CLIPPED}, strict=True)", "zip(used, gradients, strict=True)"),
    mistake("each by itself", "The norm is that of all gradients together. Does the step keep its direction?",
        "norm = torch.stack([gradient.norm() for gradient in gradients]).norm()", "pass",
        "factor = (self.max_norm / norm).clamp(max=1.0) if norm > 0 else 1.0", "m = self.max_norm",
        "[gradient * factor for gradient in gradients]",
        "[g * (m / g.norm().clamp(min=1e-30)).clamp(max=1.0) for g in gradients]"),
    mistake("short ones grow", "A gradient that is shorter than max_norm already: what should clipping do to it?",
        ".clamp(max=1.0)", ""),
    mistake("nothing over nothing", "All gradients may be 0. What is their norm, and what do you divide by?",
        " if norm > 0 else 1.0", " * (norm / norm)"),
]  # fmt: skip
