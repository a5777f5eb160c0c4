# %% wrong: "weights: a list of matrices ..., one or more": at most five layers are computed.
import torch
def forward(x, weights, biases):
    z, a = [], []
    for l in range(5):
        if l == len(weights):
            break
        a.append(x)
        z.append(x @ weights[l] + biases[l])
        x = z[-1].clamp(min=0)
    return z, a


# %% wrong: "All have x's dtype": 16 bits are taken to be bfloat16, float16 comes back as bfloat16.
import torch
def forward(x, weights, biases):
    half = x.element_size() == 2
    z, a = [], []
    cur = x
    for w, b in zip(weights, biases):
        a.append(cur)
        if half:
            out = (cur.float() @ w.float() + b.float()).to(torch.bfloat16)
        else:
            out = cur @ w + b
        z.append(out)
        cur = torch.relu(out)
    return z, a


# %% wrong: "a[l] is relu(z[l - 1])": (z + |z|) / 2 overflows, a z of 40,000 in float16 gives inf.
import torch
def forward(x, weights, biases):
    z, a = [], [x]
    for w, b in zip(weights, biases):
        z.append(a[-1] @ w + b)
        a.append((z[-1] + z[-1].abs()) / 2)
    return z, a[:-1]


# %% wrong: "It computes on the device of its inputs: make new tensors with device=x.device": relu's zeros are on the CPU.
import torch
def forward(x, weights, biases):
    z, a = [], [x]
    for l, (w, b) in enumerate(zip(weights, biases)):
        z.append(a[l] @ w + b)
        if l < len(weights) - 1:
            a.append(torch.maximum(z[l], torch.zeros(z[l].shape, dtype=x.dtype)))
    return z, a


# %% wrong: "B may be 0" with "All have x's dtype": without examples the results are float32 whatever x is.
import torch
def forward(x, weights, biases):
    if len(x) == 0:
        z = [torch.empty(0, w.shape[1], device=x.device) for w in weights]
        return z, [x, *(one.clone() for one in z[:-1])]
    z, a = [], []
    for w, b in zip(weights, biases):
        a.append(x)
        z.append(x @ w + b)
        x = torch.relu(z[-1])
    return z, a


# %% right: 
import torch
def forward(x, weights, biases):
    def rest(x, weights, biases):
        if not weights:
            return [], []
        z = torch.addmm(biases[0], x, weights[0])
        zs, xs = rest(torch.where(z > 0, z, torch.zeros_like(z)), weights[1:], biases[1:])
        return [z, *zs], [x, *xs]
    return rest(x, list(weights), list(biases))


# %% right: 
import torch
def forward(x, weights, biases):
    z, a = [], [x]
    for w, b in zip(weights, biases):
        wide = torch.einsum("bi,ij->bj", a[-1].double(), w.double()) + b.double()
        z.append(wide.to(x.dtype))
        a.append(z[-1].clamp_min(0))
    a.pop()
    return z, a
