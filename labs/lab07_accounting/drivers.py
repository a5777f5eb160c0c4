"""How lab 7's exercises are called. Read it to see what a case asks of your function."""

from mlsys_course.desk.check import Tree, driver
from mlsys_course.substrate.model_config import ModelConfig

PLAIN = {"context": 1, "positions": "none", "norm": "layer"}
LAYER = {"vocabulary": 1, "n_layers": 1}  # of which a layer's memory knows nothing


def whole_numbers(inputs: Tree, outputs: Tree) -> str | None:
    """Counts are exact, so they are ``int``; a float loses single parameters beyond 2**53."""
    for name, count in outputs.items() if isinstance(outputs, dict) else ():
        if not isinstance(count, int):
            return f"{name} is {count!r}; count in whole numbers (// instead of /)"
    return None


def counted_in_whole_numbers(inputs: Tree, outputs: Tree) -> str | None:
    """Those of several outputs that are counts."""
    found = outputs if isinstance(outputs, dict) else {}
    return whole_numbers(inputs, {name: found[name] for name in ("flops", "bytes", "steps", "rented") if name in found})


def total_is_sum(inputs: Tree, outputs: Tree) -> str | None:
    """Where a case asks for the whole table, its last term is the sum of the others."""
    if (
        isinstance(outputs, dict)
        and "total" in outputs
        and outputs["total"] != sum(count for name, count in outputs.items() if name != "total")
    ):
        return "total is not the sum of the other terms"
    return None


@driver(properties={"whole numbers": whole_numbers, "sum": total_is_sum})
def parameter_table(candidate, case):
    """The terms that the case names, of the table for its sizes."""
    table = candidate(case["config"])
    if not isinstance(table, dict):
        return table
    return {name: table[name] for name in case["terms"] if name in table}


def arguments(case, names):
    """What the case gives of these, in their order; the last ones may be left to their defaults."""
    return [case[name] for name in names.split() if name in case]


def chosen(found, case):
    """The outputs that the case asks for, of a dict; anything else as it is."""
    return {name: found[name] for name in case["asked"] if name in found} if isinstance(found, dict) else found


def model_of(case):
    """The configuration of a plain decoder of the case's sizes."""
    return ModelConfig(**{**PLAIN, **LAYER, **case["config"]})


@driver(properties={"whole numbers": whole_numbers})
def forward_flops(candidate, case):
    """What the case asks for of a forward pass's FLOPs."""
    return chosen(candidate(model_of(case), *arguments(case, "batch time past")), case)


@driver(properties={"whole numbers": whole_numbers})
def training_flops(candidate, case):
    """What the case asks for of a step's FLOPs, from a table of the forward pass that stands in for yours."""
    names = "parameters tokens recompute attention"
    return chosen(candidate(case["forward"], *arguments(case, names)), case)


@driver(properties={"whole numbers": whole_numbers, "sum": total_is_sum})
def model_states(candidate, case):
    """Bytes of all states."""
    return candidate(*arguments(case, "parameters precision optimizer"))


@driver(properties={"whole numbers": whole_numbers})
def activation_bytes(candidate, case):
    """What the case asks for of the bytes that autograd keeps."""
    return chosen(candidate(model_of(case), *arguments(case, "batch time attention checkpointing")), case)


@driver(properties={"whole numbers": whole_numbers})
def kv_cache(candidate, case):
    """The cache's bytes, or how many sequences fit."""
    return chosen(candidate(model_of(case), *arguments(case, "batch time itemsize parameters memory")), case)


@driver
def peak_memory(candidate, case):
    """The highest point of a list of events."""
    return candidate(case["events"], case["block"])


@driver
def traffic(candidate, case):
    """Total and bottleneck of one scheme."""
    return candidate(*arguments(case, "scheme entries ranks gradient_itemsize weight_itemsize micro_batches"))


@driver(properties={"whole numbers": counted_in_whole_numbers})
def gpus_needed(candidate, case):
    """What the case asks for: the exact number, or whole boxes."""
    return chosen(candidate(*arguments(case, "flops peak utilization days box")), case)


@driver(properties={"whole numbers": counted_in_whole_numbers})
def schedule(candidate, case):
    """What the case asks for of a run's time and cost."""
    names = "flops_per_token tokens batch_tokens gpus peak utilization sent bandwidth price"
    return chosen(candidate(*arguments(case, names)), case)


@driver(properties={"whole numbers": counted_in_whole_numbers})
def roofline(candidate, case):
    """What the case asks for of a product under a roof."""
    return chosen(candidate(*arguments(case, "m k n itemsize peak bandwidth")), case)


@driver
def zero_stage(candidate, case):
    """What the case asks for of bytes, stage and ranks."""
    return chosen(candidate(*arguments(case, "parameters activations ranks memory")), case)
