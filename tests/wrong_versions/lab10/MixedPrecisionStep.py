# %% wrong: "with the gradients in the masters' .grad; None where a parameter had none": with a scaler it gives zeros to the parameters without a gradient.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        if self.scaler is not None:
            pairs = list(zip(self.masters, self.parameters))
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master)
        return True

# %% wrong: "Then each parameter becomes its master, rounded to its dtype, in place.": every step gives the parameter other memory.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.data = master.to(p.dtype, copy=True)
        return True

# %% wrong: "if the Euclidean norm of all (unscaled) gradients together is more than max_norm, all are multiplied by max_norm / norm": only where there is a scaler.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None and self.scaler is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master)
        return True

# %% wrong: "without a scaler they are converted to float32. Where the scaler returns None, ... stay as they are, and False is returned. Else:": without a scaler it skips a step with an infinity on its own account.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
            if not all(gradient.isfinite().all() for gradient in gradients):
                return False
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master)
        return True

# %% wrong: "make_optimizer(masters): returns an optimizer of torch.optim's kind for those tensors; call it once.": it is called twice.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        if not hasattr(make_optimizer(self.masters), "step"):
            raise TypeError("no optimizer")
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master)
        return True

# %% wrong: "None of your functions may change the tensors, lists and dictionaries that it is given": it clips in place, in what the scaler returned, or in a float32 parameter's gradient that somebody may hold.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                for gradient in gradients:
                    gradient.mul_(self.max_norm / norm)
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master)
        return True

# %% wrong: "float16, bfloat16 or float32, also mixed" and "rounded to its dtype": all are rounded to the dtype of the first one.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = sum(gradient.double().square().sum().item() for gradient in gradients) ** 0.5
            if norm > self.max_norm:
                gradients = [gradient * (self.max_norm / norm) for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.copy_(master.to(self.parameters[0].dtype))
        return True

# %% right: clips by way of one long vector; masters are nn.Parameters; .grad are let go at the end.
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self._model = tuple(parameters)
        self.masters = [torch.nn.Parameter(p.detach().clone().float()) for p in self._model]
        self._optimizer = make_optimizer(self.masters)
        self._scaler, self._most = scaler, max_norm

    def step(self):
        with_gradient = [i for i, p in enumerate(self._model) if p.grad is not None]
        raw = [self._model[i].grad for i in with_gradient]
        wide = [g.to(torch.float32) for g in raw] if self._scaler is None else self._scaler.step(raw)
        taken = wide is not None
        if taken:
            if self._most is not None and wide:
                length = torch.cat([g.flatten() for g in wide]).double().norm()
                if length > self._most:
                    wide = [(g.double() * self._most / length).float() for g in wide]
            self._optimizer.zero_grad(set_to_none=True)
            for i, g in zip(with_gradient, wide):
                self.masters[i].grad = g
            self._optimizer.step()
            with torch.no_grad():
                for p, master in zip(self._model, self.masters):
                    p.copy_(master)
        for p in self._model:
            p.grad = None
        return taken

# %% right: always multiplies, by a factor that is at most 1; the norm is a norm of norms, by math.hypot.
import math
import torch


class MixedPrecisionStep:
    def __init__(self, parameters, make_optimizer, scaler=None, max_norm=None):
        self.parameters, self.scaler, self.max_norm = list(parameters), scaler, max_norm
        self.masters = [p.detach().to(torch.float32, copy=True) for p in self.parameters]
        self.optimizer = make_optimizer(self.masters)

    @torch.no_grad()
    def step(self):
        pairs = [(master, p) for master, p in zip(self.masters, self.parameters) if p.grad is not None]
        gradients = [p.grad for _, p in pairs]
        for p in self.parameters:
            p.grad = None
        if self.scaler is not None:
            gradients = self.scaler.step(gradients)
            if gradients is None:
                return False
        else:
            gradients = [gradient.float() for gradient in gradients]
        if self.max_norm is not None:
            norm = math.hypot(*(gradient.double().norm().item() for gradient in gradients))
            factor = self.max_norm / norm if norm > self.max_norm else 1.0
            gradients = [factor * gradient for gradient in gradients]
        for master in self.masters:
            master.grad = None
        for (master, _), gradient in zip(pairs, gradients):
            master.grad = gradient
        self.optimizer.step()
        for master, p in zip(self.masters, self.parameters):
            p.data.copy_(master.data)
        return True
