# %% wrong: "float64 stays float64" (computed in float32 and converted back).
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    z = x.float() @ w_x.float() + h.float() @ w_h.float() + b.float()
    i, f, g, o = z.chunk(4, 1)
    new = torch.sigmoid(f) * c.float() + torch.sigmoid(i) * torch.tanh(g)
    return (torch.sigmoid(o) * torch.tanh(new)).to(x.dtype), new.to(x.dtype)


# %% wrong: "Inputs may be in the hundreds: no NaN": the gradient of 1 / (1 + exp(-z)) is NaN where exp is infinite.
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    def sig(z):
        return 1 / (1 + torch.exp(-z))
    i, f, g, o = (x @ w_x + h @ w_h + b).split(c.shape[1], 1)
    new = sig(f) * c + sig(i) * torch.tanh(g)
    return sig(o) * torch.tanh(new), new


# %% wrong: "C columns each": cut every three columns.
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    z = x @ w_x + h @ w_h + b
    i, f, g, o = z[:, 0:3], z[:, 3:6], z[:, 6:9], z[:, 9:12]
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * new.tanh(), new


# %% wrong: "c' = sig(f) c + sig(i) tanh(g)": the memory is clipped to -5 ... 5.
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    i, f, g, o = torch.chunk(x @ w_x + h @ w_h + b, 4, dim=-1)
    new = (torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)).clamp(-5, 5)
    return torch.sigmoid(o) * torch.tanh(new), new


# %% right: 
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    z = torch.cat([x, h], 1).double() @ torch.cat([w_x, w_h], 0).double() + b
    z = z.reshape(len(x), 4, -1)
    sig = 0.5 + 0.5 * torch.tanh(z / 2)
    new = sig[:, 1] * c + sig[:, 0] * torch.tanh(z[:, 2])
    return (sig[:, 3] * torch.tanh(new)).to(x.dtype), new.to(x.dtype)


# %% right: 
import torch
def lstm_cell(x, h, c, w_x, w_h, b):
    C = c.shape[1]
    def gate(n):
        at = slice(n * C, (n + 1) * C)
        return torch.einsum("bi,ij->bj", x, w_x[:, at]) + torch.einsum("bi,ij->bj", h, w_h[:, at]) + b[at]
    written = gate(2).tanh() * torch.exp(-torch.nn.functional.softplus(-gate(0)))
    memory = written + gate(1).sigmoid() * c
    return memory.tanh() * gate(3).sigmoid(), memory
