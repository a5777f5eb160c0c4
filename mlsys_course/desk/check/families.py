"""Operators by family: what an exercise allows or forbids in kind, whatever an operator is called.

Of four basic families hands-on work is made: element by element, reductions, indexing, creation; and products. All
others are finished kernels, or leave PyTorch's operators altogether.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BASIC = ("elementwise", "reductions", "indexing", "creation")
FINISHED = {  # how a finished kernel of the family reads to a student, and what to do instead
    "softmax": ("a softmax or a log-sum-exp", "write it from exp, log and sum"),
    "norm": ("a normalization", "write it from mean, var and rsqrt"),
    "attention": ("attention", "write it from products and a softmax"),
    "transformer": ("a transformer's layer", "write it from your own parts"),
    "activation": ("an activation", "write it from erf, tanh or sigmoid"),
    "loss": ("a loss", "write it from log, sum and indexing"),
    "recurrent": ("a recurrent layer", "write one step from products and tanh or sigmoid"),
    "embedding": ("an embedding", "look rows up by indexing"),
    "one-hot": ("a one-hot encoding", "write it from comparison or indexing"),
    "products": ("a matrix product", "write it from what the exercise gives you"),
    "convolution": ("a convolution, a pooling or a resampling", "write it from indexing and sums"),
    "linear algebra": ("a matrix decomposition or a solver", "write it from elementary steps"),
    "transform": ("a Fourier transform", "write it from elementary steps"),
    "optimizer": ("an optimizer's step", "write the update from elementwise steps"),
    "scaling": ("PyTorch's loss scaling", "write it from elementwise steps"),
    "quantization": ("quantization", "write it from rounding and clamping"),
    "sparse": ("a sparse operation", "write it on dense tensors"),
}
OUTSIDE = {  # what is no operator, or hides which ones run
    "autograd": "has gradients computed by PyTorch's autograd; work them out by hand",
    "numpy": "leaves PyTorch for NumPy or its like; stay with PyTorch's operators",
    "threads": "starts a thread or a process, or calls C, where nobody sees what it runs; do all in the call itself",
    "record": "stops the record of which operators run",
    "other": "runs code that is none of PyTorch's basic operators; write it from basic ones",
}
CONVERTING = ("aten::resolve_neg", "aten::detach_")  # the last steps to NumPy's arrays and from them
NAMES = (*BASIC, *FINISHED, *OUTSIDE)

# In this order, on the bare name: no underscores at either end, no `_backward`. The first that fits says the family.
_PATTERNS = tuple((family, re.compile(pattern)) for family, pattern in (
    ("optimizer", r"^fused_(adam|adagrad|sgd)|^sobol"),
    ("scaling", r"^amp_"),
    ("transformer", r"transformer"),
    ("attention", r"attention|multi_head|sdp_choice|transform_bias_rescale_qkv"),
    ("softmax", r"softmax|softmin|logsumexp|logcumsumexp|logaddexp"),
    ("recurrent", r"^(quantized_|cudnn_|miopen_|mkldnn_|thnn_\w+_)?(lstm|gru|rnn)(_|$)"),
    ("norm", r"(layer|batch|group|instance|rms|weight)_?norm|^renorm|embedding_renorm"),
    ("loss", r"loss|cross_entropy|kl_div"),
    ("one-hot", r"^one_hot"),
    ("embedding", r"^(no_grad_)?embedding"),
    ("activation", r"^(infinitely_differentiable_)?(gelu|silu|mish|hardswish)$|^glu(_|$)"),
    ("quantization", r"quanti[sz]e|quant_|qparams|^q_|int_repr|rowwise_prune|fbgemm|int4pack|int8pack"
                     r"|saturate_weight|_fq_|fake_quant"),
    ("sparse", r"sparse|spmm|coalesce|^smm$|^hspmm|^sspaddmm|spdiags|spsolve|cslt|nnz|^(cc?ol|crow|row)_indices"),
    ("convolution", r"conv(olution)?(\d|_|$)|pool\d?|unpool|upsample|interpolate|grid_sampler|im2col"
                    r"|col2im|affine_grid|pixel_"),
    ("transform", r"^fft_|^i?stft|^cufft|(bartlett|blackman|hamming|hann|kaiser)_window"),
    ("linear algebra", r"^linalg_(?!(vector_|matrix_)?norm|diagonal|_powsum|matmul|vecdot|multi_dot|cross|matrix_power)"
                       r"|cholesky|^(svd|qr|geqrf|orgqr|ormqr|inverse|pinverse|det$|logdet|slogdet|lu_|matrix_exp|triangular_solve)"),
    ("products", r"^(addmm|addmv|addbmm|baddbmm|bmm|mm|mv|dot|vdot|inner|matmul|einsum|tensordot|chain_matmul|linear"
                 r"|bilinear|trilinear|matrix_power|cov|corrcoef|cdist\w*|pdist\w*|euclidean_dist|int_mm"
                 r"|(mkldnn|mixed_dtypes)_linear|cosine_similarity|linalg_(matmul|vecdot|multi_dot|matrix_power))(_|$)|_mm(_|$)|grouped_mm|compute_linear"),
    ("autograd", r"^(make_dual|unpack_dual|fw_primal|make_dual_copy|fw_primal_copy|backward|grad|get_gradients)$"),
))  # fmt: skip
_ELEMENTWISE = (
    "abs absolute acos acosh add add_relu addcdiv addcmul addr airy_ai and angle arccos arccosh arcsin arcsinh "
    "arctan arctan2 arctanh asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or "
    "bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip clone conj conj_physical copysign "
    "cos cosh cross deg2rad degrees digamma div divide dropout elu entr eq equal erf erfc erfcx erfinv exp exp2 "
    "expit expm1 factorial fix float_power floor floor_divide fmax fmin fmod frac frexp gcd ge ger greater "
    "greater_equal gt hardshrink hardtanh heaviside hypot i0 i0e i1 i1e iand igamma igammac ilshift ior irshift "
    "isfinite isinf isnan isneginf isposinf isreal ixor kron lcm ldexp le leaky_relu lerp less less_equal lgamma "
    "linalg_cross log log10 log1p log2 log_ndtr logical_and logical_not logical_or logical_xor logit lshift lt "
    "max maximum min minimum modf mul multiply mvlgamma nan_to_num ndtr ndtri ne neg negative nextafter not "
    "not_equal or outer polygamma positive pow prelu prelu_kernel psi rad2deg radians reciprocal relu relu6 "
    "remainder round rrelu rrelu_with_noise rrelu_with_noise_functional rshift rsqrt rsub selu sgn sign signbit "
    "sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold true_divide trunc xlog1py "
    "xlogy xor zeta "
)
_REDUCTIONS = re.compile(
    r"^(foreach_)?(norm|max|min|powsum)$|^(sum|mean|prod|(nan)?(median|mean|sum|quantile)|mode|norm$|norm_except|dist|std"
    r"|var|all|any|cum(sum|prod|max|min)|trace|topk|kthvalue|sort|argsort|msort|hist|bincount|unique|trapz?|trapezoid|cumulative"
    r"|allclose|equal|isclose|isin|aminmax|max|min|arg(max|min)|segment_reduce|frobenius_norm|nuclear_norm|native_norm"
    r"|linalg_(vector_|matrix_)?norm|linalg__powsum|is_all_true|is_any_true|count_nonzero|value_selecting_reduction|sum_to"
    r"|hash_tensor|pairwise_distance|searchsorted|bucketize|nonzero|argwhere|diff|gradient|ama?x|ami?n)"
)
_INDEXING = re.compile(
    r"index|gather|scatter|select|mask|take|put|^cat$|concat|stack|pad|roll|^rot90|flip|tri[lu]|diag|repeat|tile|chunk|split"
    r"|broadcast|meshgrid|cartesian|combinations|atleast|view|reshape|squeeze|transpose|permute|swap|axis|slice|unfold|expand"
    r"|narrow|flatten|^t$|^m[TH]$|^[TH]$|matrix_H|numpy_T|^adjoint|^ravel|^unbind|vander|^where$|shuffle|resize"
    r"|as_strided|batch_dim|^alias|^real$|^imag$"
)
_CREATION = re.compile(
    r"empty|zero|ones|full|fill|^eye|arange|range|linspace|logspace|tensor|clone|copy|^to(_|$)|cast|detach|lift|^set_?|type|rand"
    r"|normal|uniform|bernoulli|multinomial|binomial|poisson|exponential|geometric|cauchy|gamma|dirichlet|dropout|seed|philox"
    r"|contiguous|resolve|item|local_scalar|is_|has_|size|stride|numel|dim$|storage|device|cpu|cuda|pin|memory|requires_grad"
    r"|retain|result|version|complex|polar|data$|assert|warn|print|record_stream|nested|jagged|coo|layout|^new_"
    r"|^(Bool|Float|Int|Complex|Scalar)|float$|long$|half$|double$"
)
_ELEMENTWISE_NAMES = frozenset(_ELEMENTWISE.split())
_REST = (("reductions", _REDUCTIONS), ("indexing", _INDEXING), ("creation", _CREATION))


@functools.cache
def family(operator: str) -> str:
    """The family of an operator or range by its name in the dispatcher's record (``aten::_softmax``); "" for none."""
    namespace, colons, name = operator.partition("::")
    if operator.startswith("Optimizer.step"):
        return "optimizer"
    if (
        operator in OUTSIDE
        or operator in FINISHED
        or not colons
        or namespace == "torch"
        or namespace.startswith("mlsys")
    ):
        return operator if operator in OUTSIDE or operator in FINISHED else ""
    if namespace == "autograd":
        return "autograd"
    if namespace != "aten":
        return "other"
    bare = re.sub(r"_backward.*$|_(out|jvp)$", "", name.strip("_")) or name
    bare = re.sub(r"^special_|^native_|^foreach_", "", bare)
    for found, pattern in _PATTERNS:
        if pattern.search(bare):
            return found
    if bare in _ELEMENTWISE_NAMES or re.search("polynomial|bessel|sigmoid", bare):
        return "elementwise"
    return next((found for found, pattern in _REST if pattern.search(bare)), "other")


CLASSES = {
    "LayerNorm": "norm", "RMSNorm": "norm", "GroupNorm": "norm", "GELU": "activation", "SiLU": "activation",
    "GLU": "activation", "RNN": "recurrent", "LSTM": "recurrent", "GRU": "recurrent", "MultiheadAttention": "attention",
    "Transformer": "transformer", "GradScaler": "scaling",
}  # fmt: skip


def kind_of(name: str) -> str:
    """The finished kind that a forbidden name stands for: ``torch.nn.functional.softmax`` for every softmax; or ""."""
    short = name.rsplit(".", 1)[-1]
    if name.startswith(("torch.autograd.", "torch.func.")) or short in ("backward", "requires_grad_"):
        return "autograd"
    if found := next((kind for prefix, kind in CLASSES.items() if short.startswith(prefix)), ""):
        return found
    found = family(f"aten::{short}")
    return found if found in FINISHED and not short.startswith("clip_grad") else ""


@dataclass(frozen=True)
class Policy:
    """What an exercise allows in kind. Without ``allowed`` everything is, but for the kinds that are forbidden."""

    forbidden: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    harmless: set[str] = field(default_factory=set, compare=False)  # operators that were looked at and may run

    def __bool__(self) -> bool:
        return bool(self.forbidden or self.allowed)

    def refuses(self, operator: str) -> bool:
        """Whether what the dispatcher's record calls ``operator`` is no part of the exercise."""
        found = family(operator)
        if not found or found in ("threads", "record"):
            return bool(found)
        return found in self.forbidden or bool(self.allowed and found not in self.allowed)

    def suspects(self, operator: str) -> bool:
        """Whether ``operator`` is refused, or may be a step of what is."""
        return self.refuses(operator) or (operator in CONVERTING and self.refuses("numpy"))


@functools.cache
def _policy(names: tuple[str, ...], allowed: tuple[str, ...]) -> Policy:
    if unknown := set(allowed) - set(NAMES):
        raise ValueError(f"no family of operators is called {sorted(unknown)}; choose from {', '.join(NAMES)}")
    kinds = frozenset(filter(None, map(kind_of, names)))
    return Policy(kinds - set(allowed), frozenset(allowed))


def policy(names: Sequence[str], allowed: Iterable[str] = ()) -> Policy:
    """The policy of an exercise by its forbidden names, each of which stands for its kind, and its allowed families."""
    return _policy(tuple(names), tuple(allowed))


def words(detail: str) -> str:
    """What a student reads of something forbidden: a function's name, or what the record shows."""
    found = family(detail) if detail.startswith("aten::") or detail in OUTSIDE else detail
    if found in FINISHED:
        what, instead = FINISHED[found]
        kernel = f" by a finished kernel: {detail}" if detail != found else " by finished code"
        return f"computes {what}{kernel}; {instead}"
    if found in OUTSIDE:
        return OUTSIDE[found]
    return f"called {detail}, which this exercise forbids"
