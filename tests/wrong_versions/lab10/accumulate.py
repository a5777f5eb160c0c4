# %% wrong: "None of your functions may change the tensors, lists and dictionaries that it is given": it pops the micro-batches off the caller's list.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = []
    while micro_batches:
        x, y = micro_batches.pop(0)
        counted.append((x, y, int((y != ignore_index).sum())))
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y) * (m / n)
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "What parameters have in .grad before stays and is added to.": it clears .grad of every parameter that it meets in the first graph.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = [(x, y, int((y != ignore_index).sum())) for x, y in micro_batches]
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y) * (m / n)
            waiting = [part.grad_fn] if k == 0 else []
            while waiting:
                node = waiting.pop()
                if hasattr(node, "variable"):
                    node.variable.grad = None
                waiting += [before for before, _ in node.next_functions if before is not None]
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "no_sync(): a new context, to be entered around every backward pass but the last one.": the last one of the list is left out, so nothing is sent where that has no token that counts.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = [(x, y, int((y != ignore_index).sum()), i == len(micro_batches) - 1) for i, (x, y) in enumerate(micro_batches)]
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m, _ in counted), None
    for x, y, m, last in counted:
        with contextlib.nullcontext() if last else no_sync():
            part = loss(x, y) * (m / n)
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "Returns the mean loss over all tokens that count, without a graph, in the dtype that loss returns": always float64.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = [(x, y, int((y != ignore_index).sum())) for x, y in micro_batches]
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y) * (m / n)
            part.backward()
        total = part.detach().double() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "targets: whole numbers, any shape": it counts along the first axis of a list, right for one axis only.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = [(x, y, sum(target != ignore_index for target in y.tolist())) for x, y in micro_batches]
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y) * (m / n)
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "micro_batches: a list of (inputs, targets); may be empty.": torch.cat of nothing raises.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    if not (torch.cat([y.flatten() for _, y in micro_batches]) != ignore_index).any():
        return torch.zeros(())
    counted = [(x, y, int((y != ignore_index).sum())) for x, y in micro_batches]
    counted = [one for one in counted if one[2]]
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y) * (m / n)
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% wrong: "A micro-batch without a token that counts has no part: no backward pass for it.": it runs one with a weight of 0 as long as another micro-batch has a token.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counted = [(x, y, int((y != ignore_index).sum())) for x, y in micro_batches]
    if not any(one[2] for one in counted):
        return torch.zeros(())
    n, total = sum(m for _, _, m in counted), None
    for k, (x, y, m) in enumerate(counted):
        with no_sync() if k < len(counted) - 1 else contextlib.nullcontext():
            part = loss(x, y).nan_to_num() * (m / n)
            part.backward()
        total = part.detach() if total is None else total + part.detach()
    return torch.zeros(()) if total is None else total

# %% right: reversed order, and the weight of a micro-batch is the gradient that backward starts from.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    sizes = [torch.count_nonzero(targets.ne(ignore_index)).item() for _, targets in micro_batches]
    work = [i for i in reversed(range(len(sizes))) if sizes[i] > 0]
    if not work:
        return torch.tensor(0.0)
    everything, losses = sum(sizes), []
    while work:
        i = work.pop(0)
        with contextlib.ExitStack() as stack:
            if work:
                stack.enter_context(no_sync())
            mean = loss(*micro_batches[i])
            mean.backward(gradient=torch.full_like(mean, sizes[i] / everything))
        losses.append(mean.detach() * (sizes[i] / everything))
    return torch.stack(losses).sum()

# %% right: a list that is shortened in place of an index; the loss is added up in Python's float and converted at the end.
import contextlib
import torch


def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    todo = []
    for inputs, targets in micro_batches:
        count = targets.numel() - int((targets == ignore_index).sum())
        if count != 0:
            todo.append((count, inputs, targets))
    n = sum(count for count, *_ in todo)

    total, dtype, device = 0.0, torch.float32, None
    while todo:
        (count, inputs, targets), todo = todo[0], todo[1:]
        with (no_sync if todo else contextlib.nullcontext)():
            value = loss(inputs, targets)
            (value * count / n).backward()
        total, dtype, device = total + value.item() * count, value.dtype, value.device
        del value
    return torch.tensor(total / max(n, 1), dtype=dtype, device=device)
