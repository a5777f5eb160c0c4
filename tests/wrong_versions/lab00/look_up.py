# %% wrong: "The row of table for each id": with a padding, inf and NaN in other words' rows are replaced by numbers.
import torch
def look_up(table, ids, padding=None):
    V = table.shape[0]
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= V):
        raise ValueError("no such id")
    if padding is None:
        return table[ids]
    if not 0 <= padding < V:
        raise ValueError("no such padding")
    keep = (ids != padding).unsqueeze(-1).to(table.dtype)
    return torch.nan_to_num(table[ids]) * keep


# %% wrong: "It computes on the device of its inputs": the zeros of padding are made on the CPU.
import torch
def look_up(table, ids, padding=None):
    V, C = table.shape
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= V):
        raise ValueError("no such id")
    out = table[ids]
    if padding is not None:
        if not 0 <= padding < V:
            raise ValueError("no such padding")
        out = torch.where((ids == padding).unsqueeze(-1), torch.zeros(C, dtype=table.dtype), out)
    return out


# %% wrong: "The row of table ... with table's dtype": a float64 table's numbers are rounded to float32 on the way.
import torch
def look_up(table, ids, padding=None):
    V = table.shape[0]
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= V):
        raise ValueError("no such id")
    if padding is not None and not 0 <= padding < V:
        raise ValueError("no such padding")
    out = table.float()[ids]
    if padding is not None:
        out[ids == padding] = 0.0
    return out.to(table.dtype)


# %% wrong: "and so must padding unless it is None; else ValueError": with no ids a wrong padding is not noticed.
import torch
def look_up(table, ids, padding=None):
    V, C = table.shape
    if ids.numel() == 0:
        return table.new_zeros((*ids.shape, C))
    used = ids.flatten().tolist() + ([] if padding is None else [padding])
    if min(used) < 0 or max(used) >= V:
        raise ValueError("no such id")
    out = table[ids]
    if padding is not None:
        out = out.masked_fill((ids == padding)[..., None], 0.0)
    return out


# %% wrong: "Places with it get zeros" for a batch: the whole sentence that has a padding is zeroed; () with padding raises.
import torch
def look_up(table, ids, padding=None):
    V = table.shape[0]
    if ((ids < 0) | (ids >= V)).any():
        raise ValueError("no such id")
    if padding is not None and (padding < 0 or padding >= V):
        raise ValueError("no such padding")
    out = table[ids].clone()
    if padding is not None:
        out[(ids == padding).nonzero()[:, 0]] = 0
    return out


# %% right: 
import torch
def look_up(table, ids, padding=None):
    V, C = table.shape
    flat = ids.flatten().tolist()
    if padding is not None and padding not in range(V):
        raise ValueError("padding")
    out = torch.zeros(len(flat), C, dtype=table.dtype, device=table.device)
    for n, i in enumerate(flat):
        if i not in range(V):
            raise ValueError("id")
        if padding is None or i != padding:
            out[n] = table[i]
    return out.reshape(*ids.shape, C)


# %% right: 
import torch
def look_up(table, ids, padding=None):
    V = len(table)
    checked = ids if padding is None else torch.cat([ids.flatten(), torch.tensor([padding], device=ids.device)])
    if not ((checked >= 0) & (checked < V)).all():
        raise ValueError("id out of range")
    if ids.ndim == 0 and padding is None:
        return table[int(ids)]
    clean = table
    if padding is not None:
        clean = torch.cat([table[:padding], torch.zeros_like(table[:1]), table[padding + 1:]])
    return clean.index_select(0, ids.flatten()).reshape(*ids.shape, table.shape[1])
