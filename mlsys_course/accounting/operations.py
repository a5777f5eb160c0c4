"""PyTorch's operators on the tape: what each makes, what its backward needs kept, what kernels take for a moment."""

from dataclasses import dataclass, field
from math import prod

from ..substrate.model_config import round_up
from .tape import Leaf, Tape, Tensor

FLOAT32 = 4


@dataclass
class Operations:
    """Operators on one device, with or without autocast to 16 bits.

    ``casts`` are autocast's 16-bit copies of float32 parameters: each is made once in a forward pass.
    """

    tape: Tape
    device: str
    autocast: bool = False
    casts: dict[Leaf, Tensor] = field(default_factory=dict)

    def made(self, *inputs: Tensor, width: int = 0, term: str = "", **keywords) -> Tensor:
        """An output shaped as the first input; ``width`` is that of the widest input unless given."""
        widest = width or max(x.width for x in inputs)
        return self.tape.operation(inputs, inputs[0].shape, widest, term=term, **keywords)

    def to(self, x: Tensor, width: int) -> Tensor:
        """Another precision; x itself where it has that already."""
        return x if x.width == width else self.made(x, width=width)

    def view(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.tape.operation([x], shape, x.width, view=True)

    def copy(self, x: Tensor) -> Tensor:
        return self.made(x, passes=True)

    def repeated(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Shared heads once for each query head."""
        return self.tape.operation([x], shape, x.width)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self.made(x, y, passes=True)

    def scale(self, x: Tensor) -> Tensor:
        """Times a number."""
        return self.made(x)

    def multiply(self, x: Tensor, y: Tensor, term: str) -> Tensor:
        return self.made(x, y, saves=[x, y], term=term)

    def function(self, x: Tensor, term: str) -> Tensor:
        """An activation function: its backward asks for its input."""
        return self.made(x, saves=[x], term=term)

    def softmax(self, x: Tensor, term: str) -> Tensor:
        """Its backward asks for its output, and on a card for gradient times output."""
        return self.made(x, saves_output=True, term=term, scratch=x.size if self.device == "cuda" else 0)

    def masked_fill(self, x: Tensor) -> Tensor:
        """Its backward asks for the mask, which is the model's and not counted here."""
        return self.made(x)

    def dropout(self, x: Tensor, term: str = "dropout") -> Tensor:
        """A mask of bytes is kept on a card; elsewhere the factors, 0 or 1 / (1 - p), in x's precision."""
        mask = prod(x.shape) * (1 if self.device == "cuda" else x.width)
        return self.made(x, saves=[mask], term=term)

    def cast(self, parameter: Tensor) -> Tensor:
        """A parameter as a matrix product reads it."""
        if not self.autocast or parameter.width != FLOAT32:
            return parameter
        assert isinstance(parameter.source, Leaf)
        if parameter.source not in self.casts:
            self.casts[parameter.source] = self.to(parameter, 2)
        return self.casts[parameter.source]

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, term: str) -> Tensor:
        """x W^T + b: keeps x for the weight's gradient and, if they are copies, the 16-bit weights for x's."""
        if self.autocast:
            x = self.to(x, 2)
        matrix = self.cast(weight)
        inputs = [x, matrix] if bias is None else [x, matrix, self.cast(bias)]
        if matrix is not weight and matrix.storage.term == "temporaries":
            matrix.storage.rename("activations.weight copies")
        return self.tape.operation(inputs, (*x.shape[:-1], weight.shape[0]), x.width, saves=[x, matrix], term=term)

    def matmul(self, x: Tensor, y: Tensor, shape: tuple[int, ...], term: str) -> Tensor:
        """Batched: keeps both factors."""
        return self.tape.operation([x, y], shape, x.width, saves=[x, y], term=term)

    def embedding(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Rows of a table; the gradient is as large as the table."""
        return self.tape.operation([table], (*tokens.shape, table.shape[1]), table.width, saves=[tokens])

    def layer_norm(self, x: Tensor, gain: Tensor, bias: Tensor | None, term: str) -> Tensor:
        """Fused: keeps x, and mean and deviation of each token, on a card in float32, else in x's precision."""
        tokens = prod(x.shape[:-1])
        width = FLOAT32 if self.device == "cuda" else x.width
        inputs = [x, gain] if bias is None else [x, gain, bias]
        return self.made(*inputs, width=x.width, saves=[x, tokens * width, tokens * width], term=term)

    def rms_norm(self, x: Tensor, gain: Tensor, term: str) -> Tensor:
        """Fused on a card: keeps x and a number for each token. On the CPU PyTorch spells it out in float32."""
        tokens = prod(x.shape[:-1])
        if self.device == "cuda":
            return self.made(x, gain, width=x.width, saves=[x, tokens * FLOAT32], term=term)
        precise = self.to(x, FLOAT32)
        squares = self.made(precise, saves=[precise], term=term, scratch=2 * precise.size)
        root = self.tape.operation([squares], (*x.shape[:-1], 1), FLOAT32, saves_output=True, term=term)
        del squares
        scaled = self.multiply(precise, root, term)
        return self.to(self.multiply(scaled, gain, term), x.width)

    def rotary(self, x: Tensor, angles: int, term: str) -> Tensor:
        """Turned by angles whose cosines and sines, ``angles`` numbers each, are kept in float32."""
        half = (*x.shape[:-1], x.shape[-1] // 2)
        tables = [self.tape.storage(angles * FLOAT32) for _ in range(2)]
        for table in tables:
            table.rename(f"activations.{term}")
        precise = self.to(x, FLOAT32)
        first, second = (self.view(precise, half) for _ in range(2))

        def turned(a: Tensor, b: Tensor) -> Tensor:
            left, right = self.scale(a), self.scale(b)
            for product, table in zip((left, right), tables, strict=True):
                if product.source is not None:
                    product.source.saved.append(table)  # pyright: ignore[reportAttributeAccessIssue]
            return self.add(left, right)

        parts = [turned(first, second), turned(second, first)]
        return self.to(self.tape.operation(parts, x.shape, FLOAT32), x.width)

    def fused_attention(self, q: Tensor, k: Tensor, v: Tensor, term: str) -> Tensor:
        """Keeps queries, keys, values, its output, and a logarithm for each query; never a table of pairs.

        On a card its backward adds up the queries' gradients in float32, and shared heads' one for each query head.
        """
        B, H, T, D = q.shape
        scratch = 0
        if self.device == "cuda":
            rows = B * H * round_up(T, 128)
            scratch = rows * (round_up(D, 32) + 1) * FLOAT32
            scratch += 2 * q.size if k.shape[1] < H else 0
        keeps = [q, k, v, B * H * T * FLOAT32]
        return self.tape.operation(
            [q, k, v], q.shape, q.width, saves=keeps, saves_output=True, term=term, scratch=scratch
        )

    def cross_entropy(self, logits: Tensor, term: str) -> Tensor:
        """Keeps the logarithms of the probabilities; both of its backward steps make a gradient of their size."""
        logarithms = self.made(logits, saves_output=True, term=term)
        return self.tape.operation([logarithms], (), FLOAT32, saves=[logarithms], term=term)
