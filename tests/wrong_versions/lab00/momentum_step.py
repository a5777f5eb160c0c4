# %% wrong: "two lists of new tensors": without momentum the velocities are the gradients themselves.
def momentum_step(parameters, gradients, velocities, lr, momentum):
    if momentum == 0:
        v = list(gradients)
    else:
        v = [momentum * old + g for old, g in zip(velocities, gradients)]
    return [w - lr * x for w, x in zip(parameters, v)], v


# %% wrong: "v <- mu v + grad": with a learning rate of 0 nothing is computed, and the velocities stay.
def momentum_step(parameters, gradients, velocities, lr, momentum):
    if lr == 0:
        return [w.clone() for w in parameters], [v.clone() for v in velocities]
    v = [momentum * old + g for old, g in zip(velocities, gradients)]
    return [w - lr * x for w, x in zip(parameters, v)], v


# %% wrong: "of the same shapes and dtype, () too": a () parameter in 16 bits comes back in float32.
import torch
def momentum_step(parameters, gradients, velocities, lr, momentum):
    lr, momentum = torch.tensor(lr), torch.tensor(momentum)
    v = [momentum * old + g for old, g in zip(velocities, gradients)]
    return [w - lr * x for w, x in zip(parameters, v)], v


# %% wrong: "Three lists of tensors": exactly three parameters are expected.
def momentum_step(parameters, gradients, velocities, lr, momentum):
    w1, w2, b = parameters
    g1, g2, gb = gradients
    v1, v2, vb = velocities
    v1, v2, vb = momentum * v1 + g1, momentum * v2 + g2, momentum * vb + gb
    return [w1 - lr * v1, w2 - lr * v2, b - lr * vb], [v1, v2, vb]


# %% wrong: "It computes on the device of its inputs": the new tensors are made on the CPU.
import torch
def momentum_step(parameters, gradients, velocities, lr, momentum):
    ws, vs = [], []
    for w, g, v in zip(parameters, gradients, velocities):
        new_v = torch.empty(v.shape, dtype=v.dtype)
        new_v.copy_(momentum * v + g)
        new_w = torch.empty(w.shape, dtype=w.dtype)
        new_w.copy_(w.to("cpu") - lr * new_v)
        ws.append(new_w)
        vs.append(new_v)
    return ws, vs


# %% right: 
import torch
def momentum_step(parameters, gradients, velocities, lr, momentum):
    ws, vs = [], []
    for w, g, v in zip(parameters, gradients, velocities):
        x = g.double() + v.double() * momentum
        vs.append(x.to(v.dtype))
        ws.append(torch.add(w.double(), x, alpha=-lr).to(w.dtype))
    return ws, vs


# %% right: 
def momentum_step(parameters, gradients, velocities, lr, momentum):
    vs = [v.clone().mul_(momentum).add_(g) for v, g in zip(velocities, gradients)]
    return [w.clone().sub_(v, alpha=lr) for w, v in zip(parameters, vs)], vs
