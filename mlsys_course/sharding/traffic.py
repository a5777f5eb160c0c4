"""What each rank sends in a step."""

from .shards import ShardError, shard_size

# Of one micro-batch, and once for the whole step: reduce-scatters and all-gathers of all parameters.
PASSES = {0: (0, 2), 1: (0, 2), 2: (1, 1), 3: (3, 0)}


def zero_traffic(stage: int, n: int, world_size: int, micro_batches: int = 1) -> int:
    """Entries that each rank sends in a step of ``micro_batches`` backward passes over ``n`` parameters, on rings.

    A pass is (P - 1) shards. Plain data parallelism (stage 0) all-reduces, ZeRO 1 scatters gradients and gathers
    parameters, once a step both; ZeRO 2 scatters in each micro-batch, since it may not keep gradients whole; ZeRO 3
    gathers in each forward and each backward, and scatters in each. So with one micro-batch 2, 2, 2 and 3 passes.
    Raises ShardError for an unknown stage. Source: Rajbhandari et al. 2020, section 7. Lab 11, exercise
    ``zero_traffic``.
    """
    if stage not in PASSES:
        raise ShardError(f"stage={stage} of ZeRO; there are 0 (no sharding), 1, 2 and 3")
    if micro_batches < 1:
        raise ShardError(f"micro_batches={micro_batches}; a step has one at least")
    each, once = PASSES[stage]
    return (each * micro_batches + once) * (world_size - 1) * shard_size(n, world_size)
