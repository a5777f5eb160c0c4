# %% wrong: "what is as large as the memory fits": the last sequence that fills the card to the byte is refused.
def kv_cache(config, batch, time, itemsize, parameters, memory):
    one = 2 * config.n_layers * config.n_kv_heads * config.head_dim * time * itemsize
    free = memory - parameters * itemsize
    return {"cache": batch * one, "largest_batch": max(0, (free - 1) // one)}


# %% wrong: "itemsize: bytes of a number, in weights and cache": weights are taken to be in 16 bits always.
def kv_cache(config, batch, time, itemsize, parameters, memory):
    one = 2 * config.n_layers * config.n_kv_heads * config.head_dim * time * itemsize
    return {"cache": batch * one, "largest_batch": max(0, (memory - 2 * parameters) // one)}


# %% wrong: "the most sequences ... that fit": 0 where `batch` sequences do not fit, though fewer would.
def kv_cache(config, batch, time, itemsize, parameters, memory):
    one = 2 * config.n_layers * config.n_kv_heads * config.head_dim * time * itemsize
    weights = parameters * itemsize
    most = batch
    if weights + most * one > memory:
        return {"cache": batch * one, "largest_batch": 0}
    while weights + (most + 1) * one <= memory:
        most += 1
    return {"cache": batch * one, "largest_batch": most}


# %% right: 
def kv_cache(config, batch, time, itemsize, parameters, memory):
    per_token = sum(2 * config.n_kv_heads * config.head_dim for _ in range(config.n_layers))
    numbers = memory // itemsize - parameters  # that are left
    most = numbers // per_token // time if numbers > 0 else 0
    return {"largest_batch": most, "cache": itemsize * per_token * time * batch}
