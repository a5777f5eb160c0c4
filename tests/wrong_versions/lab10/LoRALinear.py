# %% wrong: "The term is worked out in a's dtype, and only the sum is rounded.": it is worked out in the dtype of x.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x @ self.a.to(x.dtype).T @ self.b.to(x.dtype).T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + self.scaling * (self.b @ self.a))

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "x of shape (..., in_features)": torch.addmm takes two axes only.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = torch.addmm(y.to(self.a.dtype), x.to(self.a.dtype) @ self.a.T, self.b.T, alpha=self.scaling)
        return term.to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + self.scaling * (self.b @ self.a))

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "base.weight becomes itself plus (alpha / r) b a, ... in place.": base gets another Parameter, and who held the weight (a tied head) does not see it.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x.to(self.a.dtype) @ self.a.T @ self.b.T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        merged = (self.base.weight + self.scaling * (self.b @ self.a)).to(self.base.weight.dtype)
        self.base.weight = nn.Parameter(merged, requires_grad=False)

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "Raises TypeError for any other module.": every module whose weight is a matrix is taken, such as nn.Embedding.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(getattr(base, "weight", None), torch.Tensor) or base.weight.dim() != 2:
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.weight.shape[0], len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x.to(self.a.dtype) @ self.a.T @ self.b.T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + self.scaling * (self.b @ self.a))

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "b is (out_features, r), zeros, of a's dtype": of the base's dtype, so in 16 bits where a is float32.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=base.weight.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x.to(self.a.dtype) @ self.a.T @ self.b.to(self.a.dtype).T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + self.scaling * (self.b.to(self.a.dtype) @ self.a))

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "base.weight becomes itself plus (alpha / r) b a": the second time it is the b a of the first one.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x.to(self.a.dtype) @ self.a.T @ self.b.T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        if not hasattr(self, "term"):
            self.term = self.scaling * (self.b @ self.a)
        self.base.weight.copy_(self.base.weight + self.term)

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% wrong: "added in a's dtype and rounded once": b a is rounded to the weight's dtype before it is added.
import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = self.scaling * (x.to(self.a.dtype) @ self.a.T @ self.b.T)
        return (y + term).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.add_((self.scaling * (self.b @ self.a)).to(self.base.weight.dtype))

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None

# %% right: functional: einsum for the term, alpha multiplied first and divided last; what the weight was is kept in a list.
import torch
import torch.nn.functional as F
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if isinstance(base, nn.Linear):
            for parameter in base.parameters():
                parameter.requires_grad = False
        else:
            raise TypeError(f"{type(base).__name__} is no nn.Linear")
        self.add_module("base", base)
        self.register_parameter("a", nn.Parameter(torch.empty_like(a, requires_grad=False).copy_(a.detach())))
        self.register_parameter("b", nn.Parameter(a.detach().new_zeros(base.weight.shape[0], a.shape[0])))
        self._alpha, self._past = alpha, []

    def forward(self, x):
        if self._past:
            return self.base(x)
        plain = self.base(x)
        thin = torch.einsum("...i,ri->...r", x.to(self.a.dtype), self.a)
        term = torch.einsum("...r,or->...o", thin, self.b).mul(self._alpha).div(self.a.shape[0])
        return plain.add(term).type_as(plain)

    def merge(self):
        if self._past:
            raise RuntimeError("it is merged")
        weight = self.base.weight.detach()
        self._past.append(weight.clone())
        weight.copy_(weight.to(self.a.dtype) + F.linear(self.b, self.a.T).detach() * self._alpha / len(self.a))

    def unmerge(self):
        if not self._past:
            raise RuntimeError("it is not merged")
        self.base.weight.data.copy_(self._past.pop())

# %% right: x a^T is scaled while it is thin, and F.linear used twice; the state is a flag and a copy.
import torch
import torch.nn.functional as F
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, a, alpha):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError("no nn.Linear")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(torch.zeros(base.out_features, len(a), dtype=a.dtype, device=a.device))
        self.scaling = alpha / len(a)
        self.before = None

    def forward(self, x):
        y = self.base(x)
        if self.before is not None:
            return y
        term = F.linear(F.linear(x.to(self.a.dtype), self.a) * self.scaling, self.b)
        return torch.add(term, y).to(y.dtype)

    @torch.no_grad()
    def merge(self):
        if self.before is not None:
            raise RuntimeError("merged already")
        self.before = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + (self.b * self.scaling) @ self.a)

    @torch.no_grad()
    def unmerge(self):
        if self.before is None:
            raise RuntimeError("not merged")
        self.base.weight.copy_(self.before)
        self.before = None
