"""Lab 1's misconceptions about back-propagation through time and the product of Jacobians. Sealed."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def backward_like(
    slope: Candidate = lambda states, before: 1 - states.square(),
    back: Candidate = lambda d_a, w_hh: d_a @ w_hh.T,
    arrives: Candidate = lambda direct, passed, slope: (direct + passed) * slope,
    direct: Candidate = lambda d_states: d_states,
    start: Candidate = lambda passed, d_a, slope: passed,
    summed: Candidate = lambda d_a: d_a,
    entered: Candidate = lambda before, states: before,
    kept: Candidate = lambda d_a: d_a,
    turned: bool = False,
    bias: Candidate = lambda d_a: d_a.sum((0, 1)),
) -> Candidate:
    """A wrong ``rnn_backward``: one of its steps is another."""

    def candidate(x, h_0, states, d_states, w_xh, w_hh) -> dict[str, Tensor]:
        before = torch.cat([h_0[:, None], states[:, :-1]], dim=1)
        slopes, d_states = slope(states, before), direct(d_states)
        d_a, passed = torch.empty_like(states), torch.zeros_like(h_0)
        for t in reversed(range(x.shape[1])):
            d_a[:, t] = arrives(d_states[:, t], passed, slopes[:, t])
            passed = back(d_a[:, t], w_hh)
        d_a = kept(d_a)
        counted = summed(d_a)
        w_hh_gradient = torch.einsum("bti,btj->ij", entered(before, states), counted)
        return {
            "x": d_a @ w_xh.T,
            "h_0": start(passed, d_a[:, 0], slopes[:, 0]),
            "w_xh": torch.einsum("bti,btj->ij", x, counted),
            "w_hh": w_hh_gradient.T if turned else w_hh_gradient,
            "b": bias(counted),
        }

    return candidate


def without(x: Tensor, t: int) -> Tensor:
    """A copy with step ``t`` cleared."""
    kept = x.clone()
    kept[:, t] = 0
    return kept


def only(x: Tensor, t: int) -> Tensor:
    """A copy with all steps but ``t`` cleared."""
    return x - without(x, t)


RNN_BACKWARD = [
    Misconception(
        "nothing from later steps",
        backward_like(arrives=lambda direct, passed, slope: direct * slope),
        "Along which two paths does the loss depend on a state: directly, and through what?",
    ),
    Misconception(
        "only what comes from later steps",
        backward_like(direct=lambda d_states: only(d_states, -1)),
        "`d_states` has an entry for every state. Where does your backward pass add those before the last?",
    ),
    Misconception(
        "slope missing",
        backward_like(slope=lambda states, before: torch.ones_like(states)),
        "Between a state and the sum inside it there is a bend. What is its slope?",
    ),
    Misconception(
        "slope of a sigmoid",
        backward_like(slope=lambda states, before: states * (1 - states)),
        "h(1 - h) is the slope of a sigmoid. Of which function is h the value here?",
    ),
    Misconception(
        "slope by a second tanh",
        backward_like(slope=lambda states, before: 1 - states.tanh().square()),
        "The slope at z is 1 - tanh(z)^2. What is h: such a z, or the value of the tanh already?",
    ),
    Misconception(
        "slope at the state before",
        backward_like(slope=lambda states, before: 1 - before.square()),
        "Each step has a slope of its own. At which state is it taken, the one it starts from or the one it ends in?",
    ),
    Misconception(
        "slope for the direct path only",
        backward_like(arrives=lambda direct, passed, slope: direct * slope + passed),
        "What comes from later steps arrives at a state too. What lies between that state and the sum inside it?",
    ),
    Misconception(
        "no transpose on the way back",
        backward_like(back=lambda d_a, w_hh: d_a @ w_hh),
        "Forward a state goes through w_hh from its rows to its columns. And backward?",
    ),
    Misconception(
        "steps from the last to the first",
        backward_like(kept=lambda d_a: d_a.flip(1)),
        "You go from the last step to the first. In which order do you put the steps' gradients side by side?",
    ),
    Misconception(
        "w_hh's gradient transposed",
        backward_like(turned=True),
        "w_hh is square, so the shape does not tell: do the rows of its gradient belong to h_{t-1}, or to z_t?",
    ),
    Misconception(
        "the last step's weights only",
        backward_like(summed=lambda d_a: only(d_a, -1)),
        "The same weights are used at every step. How do the steps' gradients come together?",
    ),
    Misconception(
        "the first step's weights only",
        backward_like(summed=lambda d_a: only(d_a, 0)),
        "Your weights' gradient holds one step's share, the one you came to last. Is it replaced, or added to?",
    ),
    Misconception(
        "first step left out",
        backward_like(entered=lambda before, states: without(before, 0)),
        "w_hh was used at the first step too. Which state did it multiply there?",
    ),
    Misconception(
        "states after their steps",
        backward_like(entered=lambda before, states: states),
        "Which state did w_hh multiply at step t: that after it, or that before it?",
    ),
    Misconception(
        "initial state one step short",
        backward_like(start=lambda passed, d_a, slope: d_a),
        "Your h_0 has the gradient of the first step's sum. What lies between that sum and h_0?",
    ),
    Misconception(
        "initial state bent too",
        backward_like(start=lambda passed, d_a, slope: passed * slope),
        "Did h_0 come out of a tanh?",
    ),
    Misconception(
        "averaged over sequences",
        backward_like(summed=lambda d_a: d_a / len(d_a)),
        "Is anything divided in the forward pass? `d_states` says all that the loss does.",
    ),
    Misconception(
        "bias averaged",
        backward_like(bias=lambda d_a: d_a.mean((0, 1))),
        "The bias is added at every step of every sequence. Does its gradient sum these, or average?",
    ),
]


def product_like(
    step: Candidate = component.state_jacobian,
    join: Candidate = lambda later, earlier: later @ earlier,
    states: Candidate = lambda states: states[1:],
) -> Candidate:
    """A wrong ``jacobian_product``: of other steps, or joined in another way."""

    def candidate(all_states: Tensor, w_hh: Tensor) -> Tensor:
        products = [torch.eye(len(w_hh), dtype=w_hh.dtype)]
        for h in states(all_states).flip(0):
            products.append(join(products[-1], step(h, w_hh)))
        return torch.stack(products[::-1])

    return candidate


def transposed_step(h: Tensor, w_hh: Tensor) -> Tensor:
    return component.state_jacobian(h, w_hh.T)


def slope_on_columns(h: Tensor, w_hh: Tensor) -> Tensor:
    return w_hh.T * (1 - h.square())


def from_the_first(states: Tensor, w_hh: Tensor) -> Tensor:
    products = [torch.eye(len(w_hh), dtype=w_hh.dtype)]
    for h in states[1:]:
        products.append(component.state_jacobian(h, w_hh) @ products[-1])
    return torch.stack(products)


def one_too_many(states: Tensor, w_hh: Tensor) -> Tensor:
    products = component.jacobian_product(states, w_hh)
    return products @ component.state_jacobian(states, w_hh)


def single_steps(states: Tensor, w_hh: Tensor) -> Tensor:
    eye = torch.eye(len(w_hh), dtype=w_hh.dtype)
    return torch.cat([component.state_jacobian(states[1:], w_hh), eye[None]])


JACOBIAN_PRODUCT = [
    Misconception(
        "w_hh not transposed",
        product_like(transposed_step),
        "Entry [i, j] is how h[i] moves with the earlier h[j]. Which entry of w_hh leads from j to i?",
    ),
    Misconception(
        "inputs by outputs",
        lambda states, w_hh: component.jacobian_product(states, w_hh).mT,
        "Which axis of a Jacobian counts outputs here, and which inputs?",
    ),
    Misconception(
        "factors in the other order",
        product_like(join=lambda later, earlier: earlier @ later),
        "Matrices do not commute. In a product of Jacobians, on which side does the last step stand?",
    ),
    Misconception(
        "slope missing",
        product_like(lambda h, w_hh: w_hh.T),
        "Your product holds powers of w_hh only. What does the tanh of each step multiply?",
    ),
    Misconception(
        "slope by a second tanh",
        product_like(lambda h, w_hh: (1 - h.tanh().square())[:, None] * w_hh.T),
        "The slope at z is 1 - tanh(z)^2. What is h: such a z, or the value of the tanh already?",
    ),
    Misconception(
        "slope at the earlier state",
        product_like(states=lambda states: states[:-1]),
        "A step leads from one state to the next. At which of the two is the slope of its tanh taken?",
    ),
    Misconception(
        "slope on the wrong side",
        product_like(slope_on_columns),
        "The tanh comes after the matrix. Does its slope scale the rows of the step's Jacobian, or the columns?",
    ),
    Misconception(
        "from the first state",
        from_the_first,
        "Your first entry is the identity, the last has all factors. Which state is derived, and by which?",
    ),
    Misconception("one factor too many", one_too_many, "What is the derivative of the last state by itself?"),
    Misconception("single steps", single_steps, "Each of your entries crosses one step. How many lie between t and T?"),
]
