# %% right: neighbours by a power of two that is looked up.
def round_to(x, format, u=None):
    size = x.abs().double()
    powers = 2.0 ** torch.arange(format.least_exponent, 1030, dtype=torch.float64).clamp(max=1023)
    place = torch.searchsorted(powers.unique(), size.nan_to_num(0.0, 0.0), right=True) - 1
    gap = 2.0 ** (place.clamp(min=0) + format.least_exponent - format.mantissa_bits).double()
    low = (x.double() / gap).floor()
    share = x.double() / gap - low
    if u is None:
        up = (share > 0.5) | ((share == 0.5) & (low.remainder(2) == 1))
    else:
        up = u < share
    y = (low + up) * gap
    y = torch.where(y > format.largest, format.beyond, torch.where(y < -format.largest, -format.beyond, y))
    return y.to(x.dtype)


# %% wrong: "Below the smallest normal number": subnormal numbers of float32 are taken for 0.
def round_to(x, format, u=None):
    _, e = torch.frexp(x)
    gap = 2.0 ** ((e - 1).clamp(min=format.least_exponent) - format.mantissa_bits).double()
    q = torch.where(x.abs() < 2.0**-126, 0.0, x.double()) / gap
    q = q.round() if u is None else q.floor() + (u < q - q.floor())
    y = q * gap
    return torch.where(y.abs() > format.largest, torch.copysign(torch.full_like(y, format.beyond), y), y).to(x.dtype)


# %% wrong: "of two as near the one whose last bit is 0": by adding 1.5 * 2**23, which is right for small ones only.
def round_to(x, format, u=None):
    _, e = torch.frexp(x)
    gap = 2.0 ** ((e - 1).clamp(min=format.least_exponent) - format.mantissa_bits).double()
    q = x.double() / gap
    q = (q + 0.5).floor() if u is None else q.floor() + (u < q - q.floor())
    y = q * gap
    return torch.where(y.abs() > format.largest, torch.copysign(torch.full_like(y, format.beyond), y), y).to(x.dtype)


# %% wrong: "NaN stays NaN": and becomes beyond.
def round_to(x, format, u=None):
    _, e = torch.frexp(x)
    gap = 2.0 ** ((e - 1).clamp(min=format.least_exponent) - format.mantissa_bits).double()
    q = x.double() / gap
    q = q.round() if u is None else q.floor() + (u < q - q.floor())
    y = q * gap
    return torch.where(y.abs() <= format.largest, y, torch.copysign(torch.full_like(y, format.beyond), y)).to(x.dtype)


# %% wrong: "so do infinities": infinity stays infinity in every format.
def round_to(x, format, u=None):
    _, e = torch.frexp(x)
    gap = 2.0 ** ((e - 1).clamp(min=format.least_exponent) - format.mantissa_bits).double()
    q = x.double() / gap
    q = q.round() if u is None else q.floor() + (u < q - q.floor())
    y = q * gap
    y = torch.where(y.abs() > format.largest, torch.copysign(torch.full_like(y, format.beyond), y), y)
    return torch.where(x.isinf(), x.double(), y).to(x.dtype)
