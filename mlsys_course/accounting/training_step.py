"""The training step that ``measured`` runs, written for the tape: the same lines, the same memory."""

from collections.abc import Callable
from math import prod

from ..substrate.model_config import ModelConfig
from .operations import FLOAT32, Operations
from .recipe import STATES, Recipe
from .tape import Leaf, Memory, Storage, Tape, Tensor

INT64 = 8


class Step:
    """One training step of a decoder. ``memory`` holds what is alive: first of all what outlives the step."""

    def __init__(self, config: ModelConfig, recipe: Recipe, batch: int, time: int, caching: bool = False):
        self.config, self.recipe, self.batch, self.time = config, recipe, batch, time
        self.memory = Memory(caching)
        self.tape = Tape(self.memory)
        self.ops = Operations(self.tape, recipe.device, recipe.precision == "autocast")
        self.parameters: dict[str, Tensor] = {}
        self.lasting: list[Storage] = []

    def prepare(self) -> None:
        """Weights, the optimizer's states and the inputs are there before the step begins."""
        found = Step(self.config, self.recipe, 1, 1)
        found.loss(found.inputs())  # a pass over one token meets every parameter
        for name, tensor in found.parameters.items():
            self.parameter(name, *tensor.shape)
            for term in ("master_weights", "first_moment", "second_moment"):
                if width := STATES[self.recipe.precision][term]:
                    self.last(prod(tensor.shape) * width, term)
            if self.recipe.device == "cpu" or self.recipe.optimizer == "adamw_fused":
                self.last(FLOAT32, "step_counters")  # else they are on the host
        if self.recipe.attention == "eager":
            self.last(self.time * self.time, "mask")

    def last(self, size: int, term: str) -> Storage:
        """Memory that stays when the step is over."""
        self.lasting.append(self.tape.storage(size, term))
        return self.lasting[-1]

    def parameter(self, name: str, *shape: int) -> Tensor:
        """A weight; asked for again by its name it is the same."""
        if name not in self.parameters:
            width = self.recipe.weight_width
            size = prod(shape) * width
            self.parameters[name] = Tensor(shape, width, self.last(size, "weights"), Leaf(size))
        return self.parameters[name]

    def inputs(self) -> Tensor:
        """Tokens, and as many targets."""
        shape = (self.batch, self.time)
        self.last(prod(shape) * INT64, "inputs")
        return Tensor(shape, INT64, self.last(prod(shape) * INT64, "inputs"))

    def run(self) -> None:
        """Forward and backward."""
        self.prepare()
        loss = self.loss(self.inputs())
        self.ops.casts.clear()  # autocast's context ends before backward begins
        self.tape.backward(loss)

    def loss(self, tokens: Tensor) -> Tensor:
        """The mean cross-entropy of every token's logits, in float32."""
        logits = self.ops.to(self.logits(self.hidden(tokens)), FLOAT32)
        return self.ops.cross_entropy(logits, "loss")

    def hidden(self, tokens: Tensor) -> Tensor:
        """What the last layer says of each token."""
        x = self.embedding(tokens)
        for n in range(self.config.n_layers):
            x = self.layer(x, f"layers.{n}")
        return self.norm(x, "norm", "norms")

    def logits(self, x: Tensor) -> Tensor:
        """One number for each token of the vocabulary."""
        rows, name = self.config.padded_vocabulary, "tokens" if self.config.tied_head else "head"
        return self.ops.linear(x, self.parameter(name, rows, self.config.d_model), None, "head")

    def embedding(self, tokens: Tensor) -> Tensor:
        config, d = self.config, self.config.d_model
        x = self.ops.embedding(tokens, self.parameter("tokens", config.padded_vocabulary, d))
        if config.positions == "learned":
            table = self.parameter("positions", config.context, d)
            x = self.ops.add(x, self.ops.view(table, (self.time, d)))
        return self.dropout(x)

    def layer(self, x: Tensor, name: str) -> Tensor:
        if self.recipe.checkpointing != "full":
            return self.block(x, name)
        return self.tape.checkpoint(lambda y: self.block(y, name), [x], "layer inputs", self.again)

    def block(self, x: Tensor, name: str) -> Tensor:
        """Two sublayers, each with a norm before it and a residual around it."""
        x = self.ops.add(x, self.dropout(self.attention(self.norm(x, f"{name}.norm_1", "norms"), name)))
        return self.ops.add(x, self.dropout(self.mlp(self.norm(x, f"{name}.norm_2", "norms"), name)))

    def dropout(self, x: Tensor) -> Tensor:
        return self.ops.dropout(x) if self.recipe.dropout else x

    def again(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A checkpoint's second pass has an autocast of its own, whose copies of weights go when it ends."""

        def run(*inputs: Tensor) -> Tensor:
            casts, self.ops.casts = self.ops.casts, {}
            output = function(*inputs)
            self.ops.casts = casts
            return output

        return run

    def norm(self, x: Tensor, name: str, term: str) -> Tensor:
        gain = self.parameter(f"{name}.gain", self.config.d_model)
        if self.config.norm == "rms":
            return self.ops.rms_norm(x, gain, term)
        return self.ops.layer_norm(x, gain, self.parameter(f"{name}.bias", self.config.d_model), term)

    def linear(self, x: Tensor, name: str, outputs: int, bias: bool, term: str) -> Tensor:
        weight = self.parameter(name, outputs, x.shape[-1])
        return self.ops.linear(x, weight, self.parameter(f"{name}.bias", outputs) if bias else None, term)

    def mlp(self, x: Tensor, name: str) -> Tensor:
        width, bias = self.config.d_ffn, self.config.mlp_biases
        if not self.config.gated:
            up = self.ops.function(self.linear(x, f"{name}.up", width, bias, "mlp.input"), "mlp.activation")
            return self.linear(up, f"{name}.down", self.config.d_model, bias, "mlp.down")
        gate = self.ops.function(self.linear(x, f"{name}.gate", width, bias, "mlp.input"), "mlp.activation")
        up = self.linear(x, f"{name}.up", width, bias, "mlp.input")
        both = self.ops.multiply(gate, up, "mlp.multiply")
        del gate, up
        return self.linear(both, f"{name}.down", self.config.d_model, bias, "mlp.down")

    def attention(self, x: Tensor, name: str) -> Tensor:
        config = self.config

        def heads(letter: str, count: int) -> Tensor:
            width, bias = count * config.head_dim, letter in config.attention_biases
            y = self.linear(x, f"{name}.{letter}", width, bias, "attention.input")
            return self.ops.view(y, (x.shape[0], count, x.shape[1], config.head_dim))

        q, k, v = heads("Q", config.n_heads), heads("K", config.n_kv_heads), heads("V", config.n_kv_heads)
        if config.positions == "rotary":
            angles = x.shape[1] * config.head_dim // 2
            q, k = (self.ops.rotary(y, angles, "attention.angles") for y in (q, k))
        core = self.fused if self.recipe.attention == "fused" else self.eager
        if self.recipe.checkpointing == "selective":
            y = self.tape.checkpoint(core, [q, k, v], "attention.qkv", self.again)
        else:
            y = core(q, k, v)
        shape = (x.shape[0], x.shape[1], config.n_heads * config.head_dim)
        y = self.merged(y, shape)
        return self.linear(y, f"{name}.O", config.d_model, "O" in config.attention_biases, "attention.output")

    def merged(self, y: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Heads side by side: fused attention gives them so if its queries lie so, and rotary positions undo that."""
        if self.recipe.attention == "eager" or self.config.positions == "rotary":
            y = self.ops.copy(y)
        return self.ops.view(y, shape)

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.ops.fused_attention(q, k, v, "attention.qkv")

    def eager(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(D)) v, the softmax in float32."""
        grouped, turned = self.config.n_kv_heads < self.config.n_heads, self.config.positions == "rotary"
        if grouped:
            k, v = (self.ops.repeated(y, q.shape) for y in (k, v))
        B, H, T, _ = q.shape
        scattered = B > 1 and H > 1  # a batched product wants heads of all sequences in a row: what lies by token moves
        q = self.ops.copy(q) if scattered and not turned else q
        k = self.ops.copy(k) if scattered and not (turned or grouped) else k
        scores = self.ops.matmul(q, k, (B, H, T, T), "attention.qkv")
        del q, k
        scores = self.ops.scale(self.ops.to(scores, FLOAT32))
        weights = self.ops.softmax(self.ops.masked_fill(scores), "attention.pairs")
        del scores
        weights = self.ops.to(weights, v.width)
        weights = self.ops.dropout(weights, "attention.pairs") if self.recipe.dropout else weights
        v = self.ops.copy(v) if scattered and not grouped else v
        return self.ops.matmul(weights, v, (B, H, T, self.config.head_dim), "attention.pairs")
