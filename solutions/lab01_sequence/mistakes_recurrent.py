"""Lab 1's misconceptions about recurrent networks, what goes back through them, and their extensions. Sealed."""

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import sequence as component

Tensor = torch.Tensor


# ---- one cell --------------------------------------------------------------------------------------------------------


def tanh_by_exponentials(z: Tensor) -> Tensor:
    return (z.exp() - (-z).exp()) / (z.exp() + (-z).exp())


def tanh_by_one_exponential(z: Tensor) -> Tensor:
    return ((2 * z).exp() - 1) / ((2 * z).exp() + 1)


SUM, mistake = "x @ w_xh + h @ w_hh + b", wrong(component.rnn_cell)
RNN_CELL = [
    mistake("sigmoid", "Which function bends the sum here, and between which values does it lie?",
        "torch.tanh", "torch.sigmoid"),
    mistake("no bend", "The sum is right. What is done to it before it is the state?", "torch.tanh", ""),
    mistake("ReLU", "May a state be negative here? See the equation.", "torch.tanh", "torch.relu"),
    mistake("bias missing", "Of the three summands one is missing. Which one is the same for every x and h?",
        SUM, "x @ w_xh + h @ w_hh"),
    mistake("no memory", "Change h: does your result change?", SUM, "x @ w_xh + b"),
    mistake("state times the transpose",
        "Rows are tokens. On which side of w_hh does h stand, and which of its axes is summed over?",
        SUM, "x @ w_xh + h @ w_hh.T + b"),
    mistake("bent before the sum", "A state lies between -1 and 1. Is the sum inside the bend, or outside?",
        f"torch.tanh({SUM})", "torch.tanh(x @ w_xh + b) + torch.tanh(h @ w_hh)"),
    mistake("exponentials overflow",
        "How large is exp(100) in float32, and what is infinity divided by infinity? Is there a function for it?",
        "torch.tanh", "bend", bend=tanh_by_exponentials),
    mistake("one exponential overflows",
        "Far below zero yours is right. How large is exp(2z) in float32 for z = 50, and is there a function for it?",
        "torch.tanh", "bend", bend=tanh_by_one_exponential),
]  # fmt: skip


# ---- step by step ----------------------------------------------------------------------------------------------------

START, SAID, ALL = "h, states = h_0, []", "states.append(h)", "torch.stack(states, dim=1)"
READS, KEPT = "cell(x[:, t], h,", "after if mask is None else torch.where(mask[:, t, None], after, h)"
mistake = wrong(component.rnn)
RNN = [
    mistake("starts from zeros", "Before the first token there is a state. Which one?",
        START, "h, states = torch.zeros_like(h_0), []"),
    mistake("every step starts anew",
        "Swap the first two tokens: does your third state change? Which state does a step start from?",
        READS, "cell(x[:, t], h_0,"),
    mistake("from right to left", "Your steps run from the last token to the first. What may state t know of?",
        "in range(x.shape[1])", "in reversed(range(x.shape[1]))", ALL, "torch.stack(states[::-1], dim=1)"),
    mistake("last state only", "The exercise asks for a state after every step. Which shape is that?",
        f"return {ALL}", "return h"),
    mistake("states before their tokens",
        "states[:, t] comes after token t. Is what you return first the state after the first token?",
        f"        {SAID}\n", "", "        after =", f"        {SAID}\n        after ="),
    mistake("a cell of its own", "Which cell do your steps call? It is a parameter, so that another one can be passed.",
        READS, f"rnn_{READS}"),
    mistake("padding is read",
        "With and without the mask your states are the same. What should a step on padding do to a state?",
        KEPT, "after"),
    mistake("padding zeroed, not skipped",
        "A step on zeros moves a state too: the old state and the bias are still there. What should that step do?",
        READS, "cell(x[:, t] if mask is None else x[:, t] * mask[:, t, None], h,", KEPT, "after"),
    mistake("zeros at padding",
        "At padding your state becomes zero. What should `states[:, -1]` hold for a short sequence?",
        ", after, h)", ", after, 0)"),
    mistake("zeros said at padding", "You carry the right state over padding. What does the result show there?",
        SAID, "states.append(h if mask is None else torch.where(mask[:, t, None], h, 0))"),
    mistake("back to the start at padding",
        "After padding your state is h_0 again. Which state did the sequence have before that step?",
        ", after, h)", ", after, h_0)"),
    mistake("mask inverted", "Read again what True means in the mask.", "torch.where(mask", "torch.where(~mask"),
    mistake("gradient cut between steps",
        "The states are right, the gradients are not. What does a step get that has lost its history?",
        READS, "cell(x[:, t], h.detach(),"),
    mistake("written into a tensor that autograd still needs",
        "The states are right, and backward fails: each step writes into the tensor that the steps before it read. "
        "Where else can the states be collected until all are there?",
        START, "h, states = h_0, x.new_zeros(*x.shape[:2], len(b))", SAID, "states[:, t] = h; h = states[:, t]", ALL,
        "states"),
    mistake("an empty sequence passes",
        "What is `states[:, -1]` of a sequence without tokens? The docstring says what to do about it.",
        "    check_steps(x, mask)\n", "    if x.shape[1] == 0:\n        return h_0[:, None][:, :0]\n"),
]  # fmt: skip


# ---- back through time -----------------------------------------------------------------------------------------------


def without(x: Tensor, t: int) -> Tensor:
    """A copy with step ``t`` cleared."""
    kept = x.clone()
    kept[:, t] = 0
    return kept


def only(x: Tensor, t: int) -> Tensor:
    """A copy with all steps but ``t`` cleared."""
    return x - without(x, t)


def weights_from(d_a: str) -> tuple[str, ...]:
    """Edits after which weights and bias are summed from something else."""
    return "x, d_a)", f"x, {d_a})", "before, d_a)", f"before, {d_a})", "d_a.sum(", f"({d_a}).sum("


SLOPE, ADDED, ENTERED, FIRST = "(1 - states[:, t] ** 2)", "d_h = d_h + d_states[:, t]", "before, d_a)", '"h_0": d_h'
mistake = wrong(component.rnn_backward)
RNN_BACKWARD = [
    mistake("nothing from later steps",
        "Along which two paths does the loss depend on a state: directly, and through what?",
        ADDED, "d_h = d_states[:, t]"),
    mistake("only what comes from later steps",
        "`d_states` has an entry for every state. Where does your backward pass add those before the last?",
        ADDED, "d_h = d_h + only(d_states, -1)[:, t]", only=only),
    mistake("slope missing", "Between a state and the sum inside it there is a bend. What is its slope?",
        f" * {SLOPE}", ""),
    mistake("slope of a sigmoid", "h(1 - h) is the slope of a sigmoid. Of which function is h the value here?",
        SLOPE, "(states[:, t] * (1 - states[:, t]))"),
    mistake("slope by a second tanh",
        "The slope at z is 1 - tanh(z)^2. What is h: such a z, or the value of the tanh already?",
        SLOPE, "(1 - states[:, t].tanh() ** 2)"),
    mistake("slope at the state before",
        "Each step has a slope of its own. At which state is it taken, the one it starts from or the one it ends in?",
        SLOPE, "(1 - before[:, t] ** 2)"),
    mistake("slope for the direct path only",
        "What comes from later steps arrives at a state too. What lies between that state and the sum inside it?",
        f"        {ADDED}\n", "", f"d_h * {SLOPE}", f"d_states[:, t] * {SLOPE} + d_h"),
    mistake("no transpose on the way back",
        "Forward a state goes through w_hh from its rows to its columns. And backward?",
        "@ w_hh.T", "@ w_hh"),
    mistake("steps from the last to the first",
        "You go from the last step to the first. In which order do you put the steps' gradients side by side?",
        "    return {", "    d_a = d_a.flip(1)\n    return {"),
    mistake("w_hh's gradient transposed",
        "w_hh is square, so the shape does not tell: do the rows of its gradient belong to h_{t-1}, or to z_t?",
        '->ij", before', '->ji", before'),
    mistake("the last step's weights only",
        "The same weights are used at every step. How do the steps' gradients come together?",
        *weights_from("only(d_a, -1)"), only=only),
    mistake("the first step's weights only",
        "Your weights' gradient holds one step's share, the one you came to last. Is it replaced, or added to?",
        *weights_from("only(d_a, 0)"), only=only),
    mistake("first step left out", "w_hh was used at the first step too. Which state did it multiply there?",
        ENTERED, "without(before, 0), d_a)", without=without),
    mistake("states after their steps", "Which state did w_hh multiply at step t: that after it, or that before it?",
        ENTERED, "states, d_a)"),
    mistake("initial state one step short",
        "Your h_0 has the gradient of the first step's sum. What lies between that sum and h_0?",
        FIRST, '"h_0": d_a[:, 0]'),
    mistake("initial state bent too", "Did h_0 come out of a tanh?", FIRST, f"{FIRST} * (1 - states[:, 0] ** 2)"),
    mistake("averaged over sequences",
        "Is anything divided in the forward pass? `d_states` says all that the loss does.",
        *weights_from("d_a / len(d_a)")),
    mistake("bias averaged",
        "The bias is added at every step of every sequence. Does its gradient sum these, or average?",
        "d_a.sum(", "d_a.mean("),
]  # fmt: skip


# ---- many Jacobians --------------------------------------------------------------------------------------------------

EACH, SCALE = "state_jacobian(states[..., t, :], w_hh)", "(1 - h**2)[..., :, None]"
OTHER_ORDER = f"products[-1] @ {EACH}", f"{EACH} @ products[-1]"
mistake = wrong(component.jacobian_product)
JACOBIAN_PRODUCT = [
    mistake("w_hh not transposed",
        "Entry [i, j] is how h[i] moves with the earlier h[j]. Which entry of w_hh leads from j to i?",
        "w_hh.T", "w_hh"),
    mistake("inputs by outputs", "Which axis of a Jacobian counts outputs here, and which inputs?",
        "dim=-3)", "dim=-3).mT"),
    mistake("factors in the other order",
        "Matrices do not commute. In a product of Jacobians, on which side does the last step stand?",
        *OTHER_ORDER),
    mistake("slope missing", "Your product holds powers of w_hh only. What does the tanh of each step multiply?",
        f"{SCALE} * ", ""),
    mistake("slope by a second tanh",
        "The slope at z is 1 - tanh(z)^2. What is h: such a z, or the value of the tanh already?",
        "h**2", "h.tanh() ** 2"),
    mistake("slope at the earlier state",
        "A step leads from one state to the next. At which of the two is the slope of its tanh taken?",
        "states[..., t, :]", "states[..., t - 1, :]"),
    mistake("slope on the wrong side",
        "The tanh comes after the matrix. Does its slope scale the rows of the step's Jacobian, or the columns?",
        SCALE, "(1 - h**2)[..., None, :]"),
    mistake("from the first state",
        "Your first entry is the identity, the last has all factors. Which state is derived, and by which?",
        *OTHER_ORDER, "in reversed(range(1, states.shape[-2]))", "in range(1, states.shape[-2])", "products[::-1]",
        "products"),
    Misconception("one factor too many",
        lambda states, w_hh: component.jacobian_product(states, w_hh) @ component.state_jacobian(states, w_hh),
        "What is the derivative of the last state by itself?"),
    mistake("single steps", "Each of your entries crosses one step. How many lie between t and T?",
        "products[-1] @ state", "state"),
]  # fmt: skip


# ---- extensions ------------------------------------------------------------------------------------------------------

GATES, WRITTEN, OUT = "i, f, g, o =", "torch.sigmoid(i) * torch.tanh(g)", "torch.sigmoid(o) * torch.tanh(c)"
mistake = wrong(component.lstm_cell)
LSTM_CELL = [
    mistake("gates in the order i f o g", "In which order do the four gates stand?", GATES, "i, f, o, g ="),
    mistake("input and forget exchanged", "Which of the first two gates multiplies the old memory?",
        GATES, "f, i, g, o ="),
    mistake("candidate by sigmoid", "Three of the four are gates, between 0 and 1. May what is written be negative?",
        "torch.tanh(g)", "torch.sigmoid(g)"),
    mistake("memory goes out as it is", "What bends the memory on its way out?", "torch.tanh(c)", "c"),
    mistake("old memory goes out", "h' shows a memory: that before this step, or that after it?",
        "    c = torch", "    before, c = c, torch", "torch.tanh(c)", "torch.tanh(before)"),
    mistake("nothing forgotten", "What does the forget gate multiply?", "torch.sigmoid(f) * c", "c"),
    mistake("forgets what it writes",
        "One gate for both is another cell (a GRU has it). Which gate decides on what is written here?",
        "torch.sigmoid(i)", "(1 - torch.sigmoid(f))"),
    mistake("memory first", "In which order are the two results?", f"{OUT}, c", f"c, {OUT}"),
    mistake("exponentials overflow",
        "How large is exp(100) in float32, and what is infinity divided by infinity? The docstring's form has neither.",
        *(text for gate in "ifo" for text in (f"torch.sigmoid({gate})", f"{gate}.exp() / (1 + {gate}.exp())"))),
]  # fmt: skip

WAY_BACK, mistake = "*backward, reversed_mask)", wrong(component.bidirectional)
BIDIRECTIONAL = [
    mistake("not turned back", "At which position does the state that read token t stand?",
        "reversed_mask).flip(1)", "reversed_mask)"),
    mistake("both from the left", "What has the second half of state 0 read?",
        "x.flip(1)", "x", "reversed_mask).flip(1)", "mask)"),
    mistake("one set of weights", "Whose weights does the second direction use?",
        "zero_state(x, backward), *backward", "zero_state(x, forward), *forward"),
    mistake("backward half first", "Which of the two directions comes first?", "(there, back)", "(back, there)"),
    mistake("padding turned with the tokens, the mask not",
        "When a short sequence is turned around, where is its padding, and what does the mask say there?",
        WAY_BACK, "*backward, mask)"),
    mistake("padding read on the way back",
        "Which call knows nothing of padding? On the way back a short sequence's padding comes first.",
        WAY_BACK, "*backward)"),
]  # fmt: skip

LOOP, END, mistake = "    for weights in layers:\n", "    return x\n", wrong(component.multi_layer)
MULTI_LAYER = [
    mistake("every layer reads x", "What does the second layer read?",
        "x = rnn(x,", "y = rnn(x if len(weights[0]) == x.shape[-1] else y,", END, "    return y\n"),
    mistake("one layer's weights", "Each layer has weights of its own. Which do yours use?",
        LOOP, f"{LOOP}        weights = layers[0] if layers[0][0].shape == weights[0].shape else weights\n"),
    mistake("starts where the layer below ended", "Which state does every layer have before its first step?",
        LOOP, f"    last = x[:, -1, :0]\n{LOOP}        zero = x.new_zeros(len(x), len(weights[1]))\n",
        "zero_state(x, weights), *weights, mask)",
        "last if last.shape == zero.shape else zero, *weights, mask); last = x[:, -1]"),
    mistake("mask for the first layer only", "Does the second layer read padding?", END, f"        mask = None\n{END}"),
]  # fmt: skip


FACTOR, mistake = "min(1.0, max_norm / norm)", wrong(component.clip_by_norm)
CLIP_BY_NORM = [
    mistake("each gradient alone", "One norm for all of them, or one for each?",
        "g * factor", "g * min(1.0, max_norm / max(float(g.double().norm()), 1e-300))"),
    mistake("by value", "Entries are cut off in yours. Does the step keep its direction?",
        "g * factor", "g.clamp(-max_norm, max_norm)"),
    mistake("small ones are grown", "What should happen to gradients that are small enough?",
        FACTOR, "max_norm / norm"),
    mistake("divided by the square", "Take the norm of what you return: is it max_norm?",
        FACTOR, "min(1.0, max_norm / norm**2)"),
    mistake("summed in the gradients' dtype",
        "The largest float16 is 65504. What is the sum of your squares there, and in which dtype should it be taken?",
        "torch.linalg.vector_norm(g.to(torch.promote_types(g.dtype, torch.float32)))", "g.square().sum()",
        "torch.linalg.vector_norm(torch.stack(parts)).item() if parts else 0.0", "float(sum(parts)) ** 0.5",
        'if not norm < float("inf")', "if norm < 0"),
    mistake("the norm afterwards", "Which norm is asked for: that before clipping, or after?",
        "gradients.items()}, norm", "gradients.items()}, min(norm, max_norm)"),
    mistake("divides by a norm of zero", "All gradients may be zero. What do you divide by then?",
        f"{FACTOR} if norm else 1.0", FACTOR),
]  # fmt: skip
