# %% wrong: "Returns ... of shape (*ids.shape, classes)": the row length of the first call is kept for all later calls.
import torch
_eye = None
def one_hot(ids, classes):
    global _eye
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= classes):
        raise ValueError("an id is not a class")
    if _eye is None:
        _eye = torch.eye(classes)
    return _eye.to(ids.device)[ids]


# %% wrong: "shape (*ids.shape, classes)" for ids of any shape: an axis of length 1, as in (2, 1), is lost.
import torch
def one_hot(ids, classes):
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= classes):
        raise ValueError("an id is not a class")
    rows = (ids.reshape(-1, 1) == torch.arange(classes, device=ids.device)).float()
    if ids.ndim == 0:
        return rows[0]
    if ids.ndim == 1:
        return rows
    return rows.reshape(*ids.shape, classes).squeeze()


# %% wrong: "ids: ... empty ones too" with "(*ids.shape, classes)": ids of shape (2, 0) give (0, classes).
import torch
def one_hot(ids, classes):
    if ids.numel() == 0:
        return torch.zeros(0, classes, device=ids.device)
    if ids.min() < 0 or ids.max() >= classes:
        raise ValueError("an id is not a class")
    out = torch.zeros(*ids.shape, classes, device=ids.device)
    out.scatter_(-1, ids.unsqueeze(-1), 1.0)
    return out


# %% wrong: "Raises ValueError if any id is not one of 0, ..., classes - 1": only the last id is looked at.
import torch
def one_hot(ids, classes):
    if ids.numel():
        last = int(ids.flatten()[-1])
        if last < 0 or last >= classes:
            raise ValueError("an id is not a class")
    return (ids.unsqueeze(-1) == torch.arange(classes, device=ids.device)).float()


# %% wrong: "1 at the id and 0 elsewhere" for more than 256 classes: ids are squeezed into 8 bits, id 256 becomes 0.
import torch
def one_hot(ids, classes):
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= classes):
        raise ValueError("an id is not a class")
    small = ids.to(torch.uint8)
    return (small.unsqueeze(-1) == torch.arange(classes, device=ids.device)).to(torch.float32)


# %% right: 
import torch
def one_hot(ids, classes):
    flat = ids.flatten().tolist()
    for i in flat:
        if i not in range(classes):
            raise ValueError(f"{i} is not one of 0 to {classes - 1}")
    rows = torch.zeros(len(flat), classes, dtype=torch.float64, device=ids.device)
    for n, i in enumerate(flat):
        rows[n, i] = 1
    return rows.to(torch.float32).reshape(*ids.shape, classes)


# %% right: 
import torch
def one_hot(ids, classes):
    distance = (torch.arange(classes, device=ids.device) - ids[..., None]).abs()
    rows = (1 - distance).clamp(min=0)
    if not bool(((ids >= 0) & (ids < classes)).all()):
        raise ValueError("no such class")
    return rows.to(torch.float32)
