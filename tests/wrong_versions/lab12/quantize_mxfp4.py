# %% right: block by block, by frexp of each.
def quantize_mxfp4(x, u, quantize):
    x = x.reshape(-1).float()
    if x.isnan().any() or x.isinf().any():
        raise ValueError
    u = torch.full_like(x, u) if isinstance(u, float) else u.reshape(-1)
    levels, codes, exponents = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]), [], []
    for start in range(0, len(x), 32):
        block = x[start : start + 32]
        most = float(block.abs().max())
        e = max(math.frexp(most)[1] - 3, -127) if most else -127
        exponents.append(e + 127)
        places = quantize(block.abs().double().div(2.0**e).float(), levels, u[start : start + 32])
        codes += [int(place) + (8 if one < 0 else 0) for place, one in zip(places, block)]
    codes += [0] * (len(codes) % 2)
    packed = [low + 16 * high for low, high in zip(codes[::2], codes[1::2])]
    return torch.tensor(packed, dtype=torch.uint8), torch.tensor(exponents, dtype=torch.uint8)


# %% wrong: "2**(e + 2) is the largest power of two that is not above": by a logarithm, rounded to whole numbers.
def quantize_mxfp4(x, u, quantize):
    x = x.reshape(-1).float()
    if not x.isfinite().all():
        raise ValueError
    n = len(x)
    blocks = torch.cat([x, x.new_zeros(-n % 32)]).view(-1, 32)
    most = blocks.abs().amax(1)
    e = torch.where(most > 0, most.log2().round() - 2, -127.0).clamp(min=-127)
    codes = quantize((blocks.abs().double() / 2.0 ** e.double()[:, None]).float().reshape(-1)[:n],
                     torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]), u if isinstance(u, float) else u.reshape(-1))
    codes = codes + 8 * (x < 0)
    codes = torch.cat([codes, codes.new_zeros(n % 2)])
    return (codes[::2] + 16 * codes[1::2]).to(torch.uint8), (e + 127).to(torch.uint8)


# %% wrong: "8 more where the entry of x is below 0": not where the magnitude rounds to 0.
def quantize_mxfp4(x, u, quantize):
    x = x.reshape(-1).float()
    if not x.isfinite().all():
        raise ValueError
    n = len(x)
    blocks = torch.cat([x, x.new_zeros(-n % 32)]).view(-1, 32)
    e = (torch.frexp(blocks.abs().amax(1))[1] - 3).clamp(min=-127)
    e[blocks.abs().amax(1) == 0] = -127
    codes = quantize(torch.ldexp(blocks.abs(), -e[:, None]).reshape(-1)[:n],
                     torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]), u if isinstance(u, float) else u.reshape(-1))
    codes = codes + 8 * ((x < 0) & (codes > 0))
    codes = torch.cat([codes, codes.new_zeros(n % 2)])
    return (codes[::2] + 16 * codes[1::2]).to(torch.uint8), (e + 127).to(torch.uint8)
