# %% wrong: "None of your functions may change the tensors, lists and dictionaries that it is given": float() of a float32 gradient is that gradient, and the division is in place.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.float().div_(self.loss_scale) for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

# %% wrong: "gradients: a list of tensors of any shapes, float16, bfloat16 or float32": it looks for infinities after converting to float16, where a large float32 or bfloat16 entry becomes one.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(bool(gradient.half().isfinite().all()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

# %% wrong: "The scale is then multiplied by backoff_factor": never below 1.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.loss_scale = max(1.0, self.loss_scale * self.backoff_factor)
            self.good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

# %% wrong: "When this was the growth_interval-th good step in a row, the scale is then multiplied by growth_factor": all scalers share one count, so a second one moves the first one's.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        type(self).good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            type(self).good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        type(self).good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            type(self).good = 0
        return unscaled

    def state_dict(self):
        return {**vars(self), "good": self.good}

    def load_state_dict(self, state):
        vars(self).update({name: value for name, value in state.items() if name != "good"})
        type(self).good = state["good"]

# %% wrong: "None of your functions may change the tensors, lists and dictionaries that it is given": the state that is loaded becomes the object's own dictionary, and moves with it.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        self.__dict__ = state

# %% wrong: "a list of tensors of any shapes": a tensor without entries has no largest one, and amax raises.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(math.isfinite(gradient.abs().amax()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

# %% wrong: "Returns None if any entry of any of them is infinite or NaN": it looks at sums in float32, which overflow although every float32 or bfloat16 entry is finite.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if not all(math.isfinite(gradient.sum(dtype=torch.float32)) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.float() / self.loss_scale for gradient in gradients]
        self.good += 1
        if self.good == self.growth_interval:
            self.loss_scale *= self.growth_factor
            self.good = 0
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)

# %% right: counts down, keeps its numbers in one list, and tests with x - x == 0.
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self._numbers = [initial_scale, growth_factor, backoff_factor, growth_interval, growth_interval]

    @property
    def loss_scale(self):
        return self._numbers[0]

    def scale(self, loss):
        return torch.mul(loss, self._numbers[0])

    def step(self, gradients):
        scale, growth, backoff, interval, left = self._numbers
        for g in gradients:
            if not torch.eq(g - g, 0).all():
                self._numbers = [scale * backoff, growth, backoff, interval, interval]
                return None
        left -= 1
        self._numbers = [scale, growth, backoff, interval, left] if left else [scale * growth, growth, backoff, interval, interval]
        return [g.to(torch.float32).div(scale) for g in gradients]

    def state_dict(self):
        return {"numbers": list(self._numbers)}

    def load_state_dict(self, state):
        self._numbers = list(state["numbers"])

# %% right: the count is never set back at a growth but taken modulo the interval; the division is out of a copy, in place.
import math
import torch


class DynamicLossScaler:
    def __init__(self, initial_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        self.loss_scale = initial_scale
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.good = 0

    def scale(self, loss):
        return loss * self.loss_scale

    def step(self, gradients):
        if any(bool((gradient.isinf() | gradient.isnan()).any()) for gradient in gradients):
            self.loss_scale *= self.backoff_factor
            self.good = 0
            return None
        unscaled = [gradient.detach().to(torch.float32, copy=True).div_(self.loss_scale) for gradient in gradients]
        self.good += 1
        if self.good % self.growth_interval == 0:
            self.loss_scale *= self.growth_factor
        return unscaled

    def state_dict(self):
        return dict(vars(self))

    def load_state_dict(self, state):
        vars(self).update(state)
