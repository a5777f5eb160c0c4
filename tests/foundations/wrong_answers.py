"""Wrong answers to lab 0's exercises: each must lose points, and fail a public case."""

import torch

from mlsys_course import foundations


def padded_first_only(table, ids, padding=None):
    """Clears the first place only where padding stands."""
    found = foundations.look_up(table, ids, padding).clone()
    plain = foundations.look_up(table, ids)
    if padding is not None and found.ndim == 2:
        first = (ids == padding).nonzero().flatten()[:1]
        plain[first] = 0
        return plain
    return found


def two_axes_only(x, dim=-1):
    if x.ndim > 2:
        x = x.reshape(-1, x.shape[-1])
    return foundations.softmax(x, dim)


def rounded_maximum(x, dim=-1):
    """A shift by 700 at most."""
    e = (x.float() - x.float().amax(dim, keepdim=True).clamp(max=700)).exp() if x.numel() else x.float()
    return torch.nan_to_num(e / e.sum(dim, keepdim=True), nan=0.0).to(x.dtype)


def some_columns(a, b, block, multiply):
    found = foundations.block_matmul(a, b, block, multiply)
    found[:, 2 * block[2] :] = 0
    return found


def square_tiles(a, b, block, multiply):
    return foundations.block_matmul(a, b, (max(block),) * 3, multiply)


def thrown_away(a, b, block, multiply):
    """Calls multiply as asked, and takes the product from elsewhere."""
    foundations.block_matmul(a, b, block, multiply)
    return torch.matmul(a, b)


def times(factor, exercise, part):
    """The component's function with one of its two results multiplied."""

    def candidate(*args):
        results = list(getattr(foundations, exercise)(*args))
        changed = results[part]
        results[part] = [x * factor for x in changed] if isinstance(changed, list) else changed * factor
        return results

    return candidate


def first_two_slopes(weights, z, a, grad):
    return foundations.backward(weights, [*z[:-2], z[-2].abs() + 1, z[-1]] if len(z) > 1 else z, a, grad)


def first_example(weights, z, a, grad):
    return foundations.backward(weights, [x[:1] for x in z], [x[:1] for x in a], grad[:1])


def leaky(x, weights, biases):
    z, a = foundations.forward(x, weights, biases)
    return z, [a[0], *(torch.nn.functional.leaky_relu(value, 0.01) for value in z[:-1])]


def wrong_input(x, weights, biases):
    z, a = foundations.forward(x, weights, biases)
    return z, [torch.zeros_like(x), *a[1:]]


def softmax_as_given(x, dim=-1):
    """Computed in x's own dtype, also in 16 bits."""
    if not x.numel():
        return x.clone()
    e = (x - x.amax(dim, keepdim=True).clamp(min=-1e30)).exp()
    return e / e.sum(dim, keepdim=True).clamp(min=1e-30)


def log_softmax_as_given(x, dim=-1):
    if not x.numel():
        return x.clone()
    top = x.amax(dim, keepdim=True).clamp(min=-1e30)
    return x - top - (x - top).exp().sum(dim, keepdim=True).clamp(min=1e-30).log()


def unstable_gradient(logits, labels, log_softmax):
    loss, gradient = foundations.cross_entropy(logits, labels, log_softmax)
    e = logits.double().exp()
    target = foundations.one_hot(labels, logits.shape[1])
    return loss, ((e / e.sum(-1, keepdim=True) - target) / len(logits)).to(gradient.dtype)


def labels_cut(logits, labels, log_softmax):
    return foundations.cross_entropy(logits, labels[: len(logits)], log_softmax)


def sums_in_float32(a, b, block, multiply):
    found = foundations.block_matmul(a, b, block, multiply)
    return found.float().to(a.dtype)


def zeros_below_0(a, b, block, multiply):
    if min(block) < 0:
        return a.new_zeros(len(a), b.shape[1])
    return foundations.block_matmul(a, b, block, multiply)


def padded_tiles(a, b, block, multiply):
    """Tiles filled up with zeros to their full size: the product is right."""
    if a.shape[1] != len(b) or min(block) < 1:
        raise ValueError
    x = torch.nn.functional.pad(a, (0, -a.shape[1] % block[1], 0, -len(a) % block[0]))
    y = torch.nn.functional.pad(b, (0, -b.shape[1] % block[2], 0, -len(b) % block[1]))
    return foundations.block_matmul(x, y, block, multiply)[: len(a), : b.shape[1]]


def through_float32(weights, z, a, grad):
    found = foundations.backward([w.float() for w in weights], z, [x.float() for x in a], grad.float())
    return [[x.to(grad.dtype) for x in part] for part in found]


def needs_examples(function):
    """Asks for the first example, which a batch may lack."""

    def candidate(*args):
        args[-1][0] if function is foundations.backward else args[0][0]
        return function(*args)

    return candidate


MUTANTS = {
    "softmax in 16 bits": ("softmax", softmax_as_given),
    "log_softmax in 16 bits": ("log_softmax", log_softmax_as_given),
    "log of a wide softmax": ("log_softmax", lambda x, d=-1: foundations.softmax(x.double(), d).log().to(x.dtype)),
    "unstable gradient": ("cross_entropy", unstable_gradient),
    "labels cut": ("cross_entropy", labels_cut),
    "sums in float32": ("block_matmul", sums_in_float32),
    "zeros for a block below 0": ("block_matmul", zeros_below_0),
    "tiles filled up": ("block_matmul", padded_tiles),
    "backward through float32": ("backward", through_float32),
    "backward needs examples": ("backward", needs_examples(foundations.backward)),
    "forward needs examples": ("forward", needs_examples(foundations.forward)),
    "softmax_gradient in float32": (
        "softmax_gradient",
        lambda y, g, d=-1: foundations.softmax_gradient(y, g, d).float(),
    ),
    "one_hot of one axis": ("one_hot", lambda ids, n: foundations.one_hot(ids, n) if ids.ndim else ids.float()),
    "look_up of one axis": (
        "look_up",
        lambda t, i, *p: foundations.look_up(t, i.reshape(-1) if i.ndim == 0 else i, *p),
    ),
    "one_hot from 1": ("one_hot", lambda ids, n: foundations.one_hot(ids, n + 1)[..., 1:]),
    "one_hot refuses the last class": ("one_hot", lambda ids, n: foundations.one_hot(ids, n - 1)),
    "one_hot accepts one more": ("one_hot", lambda ids, n: foundations.one_hot(ids, n + 1)[..., :n]),
    "one_hot in float64": ("one_hot", lambda ids, n: foundations.one_hot(ids, n).double()),
    "one_hot adds an axis": ("one_hot", lambda ids, n: foundations.one_hot(ids.reshape(-1, 1), n)),
    "look_up shifted": ("look_up", lambda t, i, p=None: foundations.look_up(t.roll(1, 0), i, p)),
    "look_up first padding": ("look_up", padded_first_only),
    "look_up minus one for padding": ("look_up", lambda t, i, p=None: foundations.look_up(t, i, p) - (p is not None)),
    "softmax of two axes": ("softmax", two_axes_only),
    "softmax of halves": ("softmax", lambda x, dim=-1: foundations.softmax(x / 2, dim)),
    "softmax through 16 bits": ("softmax", lambda x, dim=-1: foundations.softmax(x.bfloat16(), dim).to(x.dtype)),
    "softmax shifts by 700 at most": ("softmax", rounded_maximum),
    "softmin": ("softmax", lambda x, dim=-1: foundations.softmax(-x.nan_to_num(neginf=1e30), dim)),
    "log_softmax along 0": ("log_softmax", lambda x, dim=0: foundations.log_softmax(x, dim)),
    "log_softmax clamped": ("log_softmax", lambda x, dim=-1: foundations.log_softmax(x, dim).clamp(min=-100)),
    "loss doubled": ("cross_entropy", times(2.0, "cross_entropy", 0)),
    "gradient doubled": ("cross_entropy", times(2.0, "cross_entropy", 1)),
    "cross_entropy of the first row": ("cross_entropy", lambda x, y, f: foundations.cross_entropy(x[:1], y[:1], f)),
    "product without far columns": ("block_matmul", some_columns),
    "square tiles": ("block_matmul", square_tiles),
    "product from elsewhere": ("block_matmul", thrown_away),
    "b transposed": ("block_matmul", lambda a, b, s, f: foundations.block_matmul(b.T, a.T, s, f).T),
    "leaky relu": ("forward", leaky),
    "a[0] is zeros": ("forward", wrong_input),
    "biases doubled": ("forward", lambda x, w, b: foundations.forward(x, w, [2 * one for one in b])),
    "weights doubled": ("backward", times(2.0, "backward", 0)),
    "biases negative": ("backward", times(-1.0, "backward", 1)),
    "slope of the last hidden layer forgotten": ("backward", first_two_slopes),
    "first example only": ("backward", first_example),
    "pipeline reversed": ("pipeline", lambda *s: lambda x: foundations.pipeline(*s)(x)[::-1]),
    "pipeline without the last": ("pipeline", lambda *s: lambda x: foundations.pipeline(*s)(x)[: max(1, len(x) - 1)]),
    "softmax_gradient halved": ("softmax_gradient", lambda y, g, d=-1: foundations.softmax_gradient(y, g / 2, d)),
    "smoothing doubled": ("smooth_cross_entropy", lambda x, y, s, f: foundations.cross_entropy(x, y, f, min(1, 2 * s))),
    "momentum of 0.9": ("momentum_step", lambda p, g, v, lr, m: foundations.momentum_step(p, g, v, lr, 0.9)),
    "nesterov": (
        "momentum_step",
        lambda p, g, v, lr, m: foundations.momentum_step(p, [x * (1 + m) for x in g], [m * x for x in v], lr, m),
    ),
}
