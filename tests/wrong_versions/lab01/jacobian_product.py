# %% wrong: "All tensors of one call have the same dtype, and so has the result": float64 whatever the states are.
import torch
def jacobian_product(states, w_hh):
    T, C = states.shape
    s, w = states.double(), w_hh.double()
    J = [torch.eye(C, dtype=torch.float64, device=states.device)]
    for t in range(T - 2, -1, -1):
        J.append(J[-1] @ (torch.diag(1 - s[t + 1] ** 2) @ w.T))
    return torch.stack(J[::-1])


# %% wrong: "states (T, C)" of any C: made for three channels.
import torch
def jacobian_product(states, w_hh):
    T = len(states)
    out = torch.zeros(T, 3, 3, dtype=states.dtype, device=states.device)
    for i in range(3):
        out[T - 1, i, i] = 1
    for t in range(T - 2, -1, -1):
        out[t] = (out[t + 1] * (1 - states[t + 1] ** 2)) @ w_hh.T
    return out


# %% wrong: "Entry [t, i, j] is the derivative": a product that has got small counts as vanished, and all before it are zeros.
import torch
def jacobian_product(states, w_hh):
    T, C = states.shape
    out = torch.zeros(T, C, C, dtype=states.dtype, device=states.device)
    out[-1] = torch.eye(C, dtype=states.dtype, device=states.device)
    for t in range(T - 2, -1, -1):
        if out[t + 1].abs().max() < 1e-3:
            break
        out[t] = out[t + 1] @ ((1 - states[t + 1] ** 2)[:, None] * w_hh.T)
    return out


# %% wrong: "states (T, C), T >= 1" for a long sequence: it calls itself for each step, and Python's recursion ends at a thousand.
import torch
def jacobian_product(states, w_hh):
    T, C = states.shape
    found = [None] * T
    def of(t):
        if t == T - 1:
            found[t] = torch.eye(C, dtype=states.dtype, device=states.device)
        else:
            found[t] = of(t + 1) @ ((1 - states[t + 1] ** 2)[:, None] * w_hh.T)
        return found[t]
    of(0)
    return torch.stack(found)


# %% right: 
import torch
def jacobian_product(states, w_hh):
    T, C = states.shape
    rows = []
    for i in range(C):  # row i: the gradient of entry i, carried back as a vector
        g = torch.zeros(C, dtype=torch.float64, device=states.device)
        g[i] = 1
        back = [g]
        for t in range(T - 1, 0, -1):
            g = w_hh.double() @ (g * (1 - states[t].double().square()))
            back.insert(0, g)
        rows.append(torch.stack(back))
    return torch.stack(rows, 1).to(states.dtype)


# %% right: 
import torch
def jacobian_product(states, w_hh):
    T, C = states.shape
    eye = torch.eye(C, dtype=states.dtype, device=states.device)
    steps = (1 - states[1:] * states[1:]).unsqueeze(-1) * w_hh.T
    out = []
    for t in range(T):
        product = eye
        for tau in range(t, T - 1):
            product = torch.einsum("ij,jk->ik", steps[tau], product)
        out.append(product)
    return torch.stack(out)
