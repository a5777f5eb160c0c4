# %% wrong: "a multiply-add is two FLOPs": of an outer product (k = 1) only the multiplications are counted.
def roofline(m, k, n, itemsize, peak, bandwidth):
    flops = 2 * m * k * n if k > 1 else m * n
    moved = itemsize * (m * k + k * n + m * n)
    intensity = flops / moved
    attainable = min(peak, intensity * bandwidth)
    return {"flops": flops, "bytes": moved, "intensity": intensity, "attainable": attainable,
            "seconds": flops / attainable, "bound": "memory" if intensity < peak / bandwidth else "compute"}


# %% wrong: "flops, bytes: ints": both are floats.
def roofline(m, k, n, itemsize, peak, bandwidth):
    flops = 2.0 * m * k * n
    moved = float(itemsize) * (m * k + k * n + m * n)
    intensity = flops / moved
    attainable = min(peak, intensity * bandwidth)
    return {"flops": flops, "bytes": moved, "intensity": intensity, "attainable": attainable,
            "seconds": flops / attainable, "bound": "memory" if intensity < peak / bandwidth else "compute"}


# %% wrong: "reads both and writes the result": of two square matrices one is read.
def roofline(m, k, n, itemsize, peak, bandwidth):
    flops = 2 * m * k * n
    moved = itemsize * (m * k + (k * n if not m == k == n else 0) + m * n)
    intensity = flops / moved
    attainable = min(peak, intensity * bandwidth)
    return {"flops": flops, "bytes": moved, "intensity": intensity, "attainable": attainable,
            "seconds": flops / attainable, "bound": "memory" if intensity < peak / bandwidth else "compute"}


# %% wrong: "memory where the intensity is below the ridge": the ridge is rounded to a whole number.
def roofline(m, k, n, itemsize, peak, bandwidth):
    flops, moved = 2 * m * k * n, itemsize * (m * k + k * n + m * n)
    intensity = flops / moved
    ridge = round(peak / bandwidth)
    attainable = peak if intensity >= peak / bandwidth else intensity * bandwidth
    return {"flops": flops, "bytes": moved, "intensity": intensity, "attainable": attainable,
            "seconds": flops / attainable, "bound": "memory" if intensity < ridge else "compute"}


# %% right: 
from fractions import Fraction
def roofline(m, k, n, itemsize, peak, bandwidth):
    moved = sum(rows * columns for rows, columns in ((m, k), (k, n), (m, n))) * itemsize
    flops = sum(2 for _ in range(k)) * m * n
    computing, moving = Fraction(flops) / Fraction(peak), Fraction(moved) / Fraction(bandwidth)
    seconds = max(computing, moving)
    return {"bound": "memory" if moving > computing else "compute", "seconds": float(seconds),
            "attainable": float(flops / seconds), "intensity": flops / moved, "bytes": moved, "flops": flops}
