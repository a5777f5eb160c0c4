# %% wrong: "the first stage that fits": stage 0 is given as None.
def zero_stage(parameters, activations, ranks, memory):
    N, share = parameters, -(-parameters // ranks)
    sizes = [16 * N, 4 * N + 12 * share, 2 * N + 14 * share, 16 * share]
    sizes = [s + activations for s in sizes]
    stage = next((n for n, s in enumerate(sizes) if s <= memory), None) or None
    most = (memory - activations) // 16
    return {"bytes": sizes, "stage": stage, "ranks": -(-N // most) if most > 0 else None}


# %% wrong: "or None where none does": the last stage is given where no stage fits.
def zero_stage(parameters, activations, ranks, memory):
    N, share = parameters, -(-parameters // ranks)
    sizes = [s + activations for s in (16 * N, 4 * N + 12 * share, 2 * N + 14 * share, 16 * share)]
    stage = 0
    while stage < 3 and sizes[stage] > memory:
        stage += 1
    most = (memory - activations) // 16
    return {"bytes": sizes, "stage": stage, "ranks": -(-N // most) if most > 0 else None}


# %% wrong: "None where no number is enough": None too where more than 1024 ranks are needed.
def zero_stage(parameters, activations, ranks, memory):
    def held(stage, P):
        share = -(-parameters // P)
        return activations + sum(b * (share if stage >= s else parameters) for b, s in ((12, 1), (2, 2), (2, 3)))
    sizes = [held(stage, ranks) for stage in range(4)]
    stage = next((n for n in range(4) if sizes[n] <= memory), None)
    enough = next((P for P in range(1, 1025) if held(3, P) <= memory), None)
    return {"bytes": sizes, "stage": stage, "ranks": enough}


# %% wrong: "or None where no number is enough": with less than one parameter's room beside the activations it raises.
def zero_stage(parameters, activations, ranks, memory):
    N, share = parameters, -(-parameters // ranks)
    sizes = [s + activations for s in (16 * N, 4 * N + 12 * share, 2 * N + 14 * share, 16 * share)]
    stage = next((n for n, s in enumerate(sizes) if s <= memory), None)
    if activations >= memory:
        enough = None
    else:
        enough = -(-N // ((memory - activations) // 16))
    return {"bytes": sizes, "stage": stage, "ranks": enough}


# %% wrong: "the smallest number of ranks": never one.
def zero_stage(parameters, activations, ranks, memory):
    N, share = parameters, -(-parameters // ranks)
    sizes = [s + activations for s in (16 * N, 4 * N + 12 * share, 2 * N + 14 * share, 16 * share)]
    stage = next((n for n, s in enumerate(sizes) if s <= memory), None)
    most = (memory - activations) // 16
    return {"bytes": sizes, "stage": stage, "ranks": max(2, -(-N // most)) if most > 0 else None}


# %% right: 
def zero_stage(parameters, activations, ranks, memory):
    def held(stage, P):
        share = parameters // P + bool(parameters % P)
        part = [share if stage >= least else parameters for least in (3, 2, 1)]
        return 2 * part[0] + 2 * part[1] + 12 * part[2] + activations
    fits = [n for n in (0, 1, 2, 3) if held(n, ranks) <= memory]
    low, high = 0, max(parameters, 1)  # by halving: `low` ranks do not fit
    if held(3, high) > memory:
        high = None
    else:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if held(3, middle) <= memory else (middle, high)
    return {"ranks": high, "stage": fits[0] if fits else None, "bytes": [held(n, ranks) for n in range(4)]}
