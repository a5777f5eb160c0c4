"""Lab 10, sealed: misconceptions about the chunked loss, those that are right but not thrifty first; and the scale."""

from typing import Any

import torch
import torch.nn.functional as F

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course.memory import DynamicLossScaler, chunked_cross_entropy

Tensor = torch.Tensor
Results = tuple[Tensor, Tensor, Tensor]


def wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def count_of(targets: Tensor, ignore_index: int) -> Tensor:
    return (targets != ignore_index).sum().clamp(min=1)


def parts(hidden: Tensor, targets: Tensor, chunk: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(hidden.split(chunk), targets.split(chunk), strict=True))


def all_logits_at_once(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    logits = wide(h @ w.T)
    total = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")
    loss = total / count_of(targets, ignore_index)
    return loss, *torch.autograd.grad(loss, (h, w))


def autograd_keeps_each_chunk(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    h, w = hidden.detach().requires_grad_(), wide(weight).detach().requires_grad_()
    total = wide(hidden.new_zeros(()))
    for rows, target in parts(h, targets, chunk):
        total = total + F.cross_entropy(
            wide(rows @ w.to(rows.dtype).T), target, ignore_index=ignore_index, reduction="sum"
        )
    loss = total / count_of(targets, ignore_index)
    grad_hidden, grad_weight = torch.autograd.grad(loss, (h, w))
    return loss, grad_hidden, grad_weight.to(weight.dtype)


def collects_gradients_of_logits(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    loss, collected = wide(hidden.new_zeros(())), []
    count = count_of(targets, ignore_index)
    for rows, target in parts(hidden, targets, chunk):
        logits = wide(rows @ weight.T).requires_grad_()
        part = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum") / count
        collected.append(torch.autograd.grad(part, logits)[0].to(hidden.dtype))
        loss += part.detach()
    gradient = torch.cat(collected)
    return loss, gradient @ weight, gradient.T @ hidden


def mean_of_chunk_means(hidden, weight, targets, chunk=256, ignore_index=-100) -> Results:
    found = [
        chunked_cross_entropy(rows, weight, target, chunk, ignore_index)
        for rows, target in parts(hidden, targets, chunk)
    ]
    losses, of_hidden, of_weight = zip(*found, strict=True)
    n = len(found)
    return sum(losses) / n, torch.cat(of_hidden) / n, sum(of_weight) / n


ADDED = "grad_weight.add_(grad_logits.T @ (hidden[rows] / room), alpha=room)"
LOG_Z = "log_z = logits.logsumexp(dim=-1, keepdim=True)"
LOSS = "loss += (counts * (log_z - logits.gather(1, target))).sum()"
mistake = wrong(chunked_cross_entropy)
CROSS_ENTROPY = [
    Misconception("all_logits_at_once", all_logits_at_once,
        "Your peak is that of several tensors of N x V numbers. Print the shape of the largest tensor that you make."),
    Misconception("collects_gradients_of_logits", collects_gradients_of_logits,
        "Your peak is about that of two tensors of N x V numbers. What do you keep of each chunk, and what for? "
        "Everything that a chunk gives to the results can be added before the next one begins."),
    Misconception("autograd_keeps_each_chunk", autograd_keeps_each_chunk,
        "Your peak is about that of all N x V logits, though you may never see them in one tensor. When the loop makes "
        "its last chunk, who still holds what was made for the first, and until when?"),
    Misconception("mean_of_chunk_means", mean_of_chunk_means,
        "Take 5 tokens in chunks of 4. With which weight should the fifth enter the mean, and with which does it?"),
    mistake("counts_padding", "By how many tokens do you divide when some do not count?",
        "counted.sum().clamp(min=1)", "torch.tensor(len(targets))"),
    mistake("padding_has_gradients",
        "A token that is not in the loss cannot move it. Look at grad_hidden where targets == ignore_index.",
        ".mul_(counts)", ""),
    mistake("nothing_over_nothing", "What should come out when no token counts?", ".clamp(min=1)", ""),
    mistake("gradients_of_the_sum",
        "Your gradients belong to another function than your loss: they grow with the number of tokens.",
        "grad_hidden.div_(count), grad_weight.div_(count)", "grad_hidden, grad_weight"),
    mistake("last_chunks_weight_gradient",
        "Each token has a row of its own in grad_hidden, but all of them pull at the same weight. What of the first "
        "chunk is left in grad_weight?",
        ADDED, "grad_weight = grad_logits.T.to(wide) @ hidden[rows].to(wide)"),
    mistake("drops_the_last_chunk", "How many chunks of 4 do 10 tokens have? Which tokens are in each?",
        "len(targets), chunk):", "len(targets) - chunk + 1, chunk):", "empty_like", "zeros_like"),
    mistake("target_not_subtracted",
        "The loss has two terms, and the logit of the target stands in both. Differentiate the second one too.",
        "torch.full_like(counts, -1.0)", "torch.zeros_like(counts)"),
    mistake("overflows", "exp(100) does not fit in float32, and the loss of such a logit does. What may you subtract?",
        LOG_Z, "p = logits.exp() / logits.exp().sum(-1, keepdim=True)", LOSS,
        "loss -= (counts * p.gather(1, target).log()).sum()", "logits.sub_(log_z).exp_()", "p"),
    mistake("sums_in_the_inputs_dtype", "Add 3.5 a thousand times to a bfloat16 number. Where does it stop growing?",
        "torch.zeros((), dtype=wide", "torch.zeros((), dtype=hidden.dtype", LOSS, f"{LOSS}.to(loss.dtype)",
        "return loss, grad", "return loss.to(wide), grad"),
]  # fmt: skip

# ---- the loss scale --------------------------------------------------------------------------------------------------


class SavesItsLiveState(DynamicLossScaler):
    def state_dict(self) -> Any:
        return vars(self)


BACKED_OFF = "*= self.backoff_factor\n        self.good_steps = 0"
GROWN = "else self.loss_scale\n            self.good_steps = 0"
UNSCALED, FINITE = (
    "[gradient.float() / self.loss_scale for gradient in gradients]",
    "bool(torch.isfinite(gradient).all())",
)
SETTINGS = ("growth_factor", "backoff_factor", "growth_interval")
mistake = wrong(DynamicLossScaler)
LOSS_SCALING = [
    mistake("counter_survives_overflow",
        "The interval counts good steps in a row: what does an overflow do to the count?",
        BACKED_OFF, "*= self.backoff_factor"),
    mistake("counter_survives_growth",
        "Follow the count past the first growth: at which step may the scale grow again?",
        GROWN, "else self.loss_scale", "steps == self", "steps >= self"),
    mistake("overflow_counts_as_a_step", "Which steps are good? Print the count after a step that was skipped.",
        BACKED_OFF, "*= self.backoff_factor\n        self._count_good_step()"),
    mistake("counter_runs_past_the_interval",
        "In a long calm stretch, how often does your scale grow? What is the count after the first time?",
        GROWN, "else self.loss_scale"),
    mistake("grows_one_step_late", "With growth_interval=1 the scale grows after every good step. Does yours?",
        "steps == self", "steps > self"),
    mistake("divides_by_new_scale",
        "Which scale were these gradients multiplied with: the one before this step's update, or the one after?",
        f"unscaled = {UNSCALED}", "self._count_good_step()", "self._count_good_step()\n        return unscaled",
        f"return {UNSCALED}"),
    mistake("unscales_in_half",
        "After the division some gradients are smaller than any float16. In which dtype do you divide?",
        "gradient.float() / self.loss_scale", "(gradient / self.loss_scale).float()"),
    mistake("infinity_only", "An infinity is one way for a gradient to be useless. Which is the other?",
        FINITE, "not gradient.isinf().any()"),
    mistake("nan_only", "A NaN is one way for a gradient to be useless. Which is the other?",
        FINITE, "not gradient.isnan().any()"),
    mistake("looks_at_the_norm",
        "All entries may be finite where their sum or norm is not. What exactly makes a step unusable?",
        FINITE, "bool(gradient.float().norm().to(gradient.dtype).isfinite())"),
    mistake("first_tensor_only", "Do you look at every tensor of the list?", "in gradients):", "in gradients[:1]):"),
    mistake("steps_anyway", "What does `step` return when this step's gradients cannot be used?",
        "self._back_off()\n            return None",
        f"unscaled = {UNSCALED}\n            self._back_off()\n            return unscaled"),
    mistake("forgets_the_count", "A checkpoint may fall between two growths. What must it know?",
        '= state["good_steps"]', "= 0"),
    mistake("keeps_its_own_settings",
        "The loading scaler may have been made with other arguments. Whose factors and interval hold afterwards?",
        *(part for name in SETTINGS for part in (f'= state["{name}"]', f"= self.{name}"))),
    Misconception("saves_its_live_state", SavesItsLiveState,
        "Save a state, take some more steps, and print what you saved. Has it changed?"),
]  # fmt: skip
