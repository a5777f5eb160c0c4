"""What one GPU holds of a training step when P of them share the model's states by ZeRO."""

from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..substrate.model_config import BadSize, ModelConfig, check_one_of, check_whole
from .parameters import parameter_table
from .recipe import STATES, Recipe, check_plain
from .table import Table
from .tape import Memory
from .traffic import ceil_div
from .training_step import Step

STAGES = (0, 1, 2, 3)
# The first stage that keeps one P-th of a state on each rank. Source: Rajbhandari et al. 2020, figure 1.
SHARDED_FROM = MappingProxyType(
    {"master_weights": 1, "first_moment": 1, "second_moment": 1, "gradients": 2, "weights": 3}
)
CONVENTION = (
    "bytes of one GPU at the peak of a step; ZeRO 3 holds two layers' gathered weights (one in use, the next on its "
    "way), ZeRO 2 and 3 one layer's gradients before they are scattered; the optimizer is fused; CUDA's context and "
    "fragmentation are left out"
)


def sharded_states(config: ModelConfig | int, ranks: int, stage: int, precision: str = "mixed") -> Table:
    """Bytes of weights, gradients and optimizer states on one of ``ranks`` GPUs; a model or its parameters' number.

    Shards are padded: each rank counts the largest. Stage 0 is plain data parallelism.
    """
    check_whole("ranks", ranks)
    check_whole("stage", stage, at_least=0)
    if stage not in STAGES:
        raise BadSize(f"stage={stage} of ZeRO is unknown; choose one of 0 (no sharding), 1, 2, 3")
    check_one_of("precision", precision, STATES)
    parameters = config if isinstance(config, int) else parameter_table(config).total
    check_whole("parameters", parameters)
    share = ceil_div(parameters, ranks)
    held = {name: share if stage >= first else parameters for name, first in SHARDED_FROM.items()}
    return Table("bytes", {name: width * held[name] for name, width in STATES[precision].items()}, CONVENTION)


def zero_stage(parameters: int, activations: int, ranks: int, memory: int) -> dict[str, Any]:
    """What each stage of ZeRO holds on one rank in mixed precision, beside ``activations`` bytes, and what fits.

    "bytes" of stages 0 to 3; the first "stage" that fits in ``memory`` bytes, and the smallest number of "ranks" with
    which stage 3 does, None where none. Source: Rajbhandari et al. 2020, figure 1. Lab 7, extension ``zero_stage``.
    """
    share = ceil_div(parameters, ranks)
    divided = [(0, 16), (12, 4), (14, 2), (16, 0)]  # bytes of each parameter: sharded, whole
    held = [sharded * share + whole * parameters + activations for sharded, whole in divided]
    largest_share = (memory - activations) // 16
    return {
        "bytes": held,
        "stage": next((stage for stage, size in enumerate(held) if size <= memory), None),
        "ranks": ceil_div(parameters, largest_share) if largest_share > 0 else None,
    }


def largest_unit(config: ModelConfig) -> int:
    """Parameters of the largest piece that ZeRO 3 gathers at once: a layer, the embedding or the head."""
    table = parameter_table(config)
    layer = sum(table[name] for name in ("attention", "mlp", "norms")) // (config.n_layers + config.encoder_layers)
    return max(layer, table["embedding"], table["head"])


def gpu_memory(
    config: ModelConfig, batch: int, time: int, ranks: int, stage: int, recipe: Recipe | None = None
) -> Table:
    """Bytes of one GPU that trains on ``batch`` sequences at a time: sharded states, activations, temporaries."""
    recipe = recipe or Recipe(precision="mixed")
    states = sharded_states(config, ranks, stage, recipe.precision)
    unit = largest_unit(config) * recipe.weight_width if ranks > 1 else 0
    gathered = {"gathered_weights": 2 * unit * (stage == 3), "unscattered_gradients": unit * (stage >= 2)}
    return Table("bytes", {**states, **gathered, **beside_states(config, batch, time, recipe)}, CONVENTION)


class BesideStates(Memory):
    """Remembers what was alive beside the states when that was most."""

    def __init__(self, caching: bool = False):
        super().__init__(caching)
        self.most: dict[str, int] = {}

    def add(self, term: str, size: int) -> None:
        """As a Memory, with a look at what is no state."""
        super().add(term, size)
        beside = {name: count for name, count in self.terms.items() if name not in SHARDED_FROM}
        if sum(beside.values()) > sum(self.most.values()):
            self.most = beside


def simulated(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> dict[str, int]:
    """The most that forward and backward hold beside the states, by what it is."""
    step = Step(config, recipe, batch, time, caching=True)
    step.memory = step.tape.memory = memory = BesideStates(caching=True)
    step.run()
    return memory.most


@lru_cache(maxsize=4096)  # a plan asks for the same micro-batch at every stage
def beside_states(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> Table:
    """What a step holds beside the states: activations and temporaries, which no stage of ZeRO divides.

    Layers are alike, so from the third on each adds the same; that makes a plan fast. Raises BadSize for what is no
    plain decoder.
    """
    check_plain(config)
    layers = config.n_layers
    few = layers if recipe.precision == "autocast" else min(3, layers)  # its copies of weights make layers unlike
    found = simulated(replace(config, n_layers=few), batch, time, recipe)
    if layers > few:
        fewer = simulated(replace(config, n_layers=few - 1), batch, time, recipe)
        found = {name: count + (layers - few) * (count - fewer.get(name, 0)) for name, count in found.items()}
    group = lambda name: "activations" if name.startswith("activations") else "temporaries"  # noqa: E731
    return Table("bytes", {"activations": 0, **Table("bytes", found).grouped(group)}, CONVENTION)
