# %% wrong: "backward once more, with the same ... autocast (on or off, and its dtype)": autocast that was off in forward stays on where backward runs under it.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                if enabled:
                    stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "with the same ... autocast (on or off, and its dtype)": on again with the dtype that autocast has by default.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, enabled=enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "Returns what function returns: a tensor, or a tuple of tensors": a tuple of one becomes a tensor.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results[0] if isinstance(results, tuple) and len(results) == 1 else results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "Gradients are added to .grad of everything that a plain call would give one.": where one of two results has no part in the loss its gradient is None, and backward raises.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.set_materialize_grads(False)
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "Gradients are added to .grad of everything that a plain call would give one.": a tensor that is given twice becomes one inside, and its whole gradient is counted at both places.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values, seen = [], {}
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = seen.setdefault(id(tensor), tensor.detach().requires_grad_(tensor.requires_grad))
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "where none does, results require a gradient all the same" and "backward once more": where there is no tensor among the arguments at all it is a plain call, of which autograd keeps everything.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled() or not any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% wrong: "of which autograd keeps the arguments only until backward": they stay in a list of the module for good.
import contextlib
import torch


_kept = []


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        _kept.append(values)
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        torch.autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())

# %% right: a closure takes no arguments but those tensors that may want a gradient; autograd.grad is not used, nor fork_rng.
import torch


class _Rerun(torch.autograd.Function):
    @staticmethod
    def forward(ctx, call, *tensors):
        ctx.call = call
        ctx.save_for_backward(*tensors[1:])
        ctx.generators = [torch.default_generator]
        for device in {t.device for t in tensors if t.is_cuda}:
            ctx.generators.append(torch.cuda.default_generators[device.index])
        ctx.before = [generator.get_state() for generator in ctx.generators]
        ctx.cast = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")}
        found = call(tensors[1:])
        for y in found if isinstance(found, tuple) else [found]:
            if not y.dtype.is_floating_point and not y.dtype.is_complex:
                ctx.mark_non_differentiable(y)
        return found

    @staticmethod
    def backward(ctx, *incoming):
        own = []
        for tensor in ctx.saved_tensors:
            own.append(tensor.detach())
            if tensor.requires_grad:
                own[-1].requires_grad_()
        now = [generator.get_state() for generator in ctx.generators]
        casts_now = {kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.cast}
        for generator, state in zip(ctx.generators, ctx.before):
            generator.set_state(state)
        try:
            for kind, (on, dtype) in ctx.cast.items():
                torch.set_autocast_enabled(kind, on)
                torch.set_autocast_dtype(kind, dtype)
            with torch.enable_grad():
                found = ctx.call(own)
        finally:
            torch.clear_autocast_cache()
            for kind, (on, dtype) in casts_now.items():
                torch.set_autocast_enabled(kind, on)
                torch.set_autocast_dtype(kind, dtype)
            for generator, state in zip(ctx.generators, now):
                generator.set_state(state)
        found = found if isinstance(found, tuple) else (found,)
        ends = [(y, gradient) for y, gradient in zip(found, incoming) if y.grad_fn is not None or y.requires_grad]
        if ends:
            torch.autograd.backward(*map(list, zip(*ends)))
        return None, None, *[t.grad for t in own]


def checkpoint(function, *args, **kwargs):
    if torch.is_grad_enabled():
        at = [i for i, value in enumerate(args) if torch.is_tensor(value)]
        by = [name for name, value in kwargs.items() if torch.is_tensor(value)]
        plain = [None if torch.is_tensor(value) else value for value in args]
        named = {name: value for name, value in kwargs.items() if name not in by}

        def call(tensors):
            whole = list(plain)
            for i, tensor in zip(at, tensors):
                whole[i] = tensor
            return function(*whole, **named, **dict(zip(by, tensors[len(at):])))

        return _Rerun.apply(call, torch.zeros(0, requires_grad=True), *[args[i] for i in at], *[kwargs[i] for i in by])
    return function(*args, **kwargs)

# %% right: backward starts from one number, the sum of the products of results and their gradients.
import contextlib
import torch


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wish, function, names, *values):
        ctx.function, ctx.names = function, names
        ctx.is_tensor = [isinstance(value, torch.Tensor) for value in values]
        ctx.others = [None if known else value for value, known in zip(values, ctx.is_tensor)]
        ctx.save_for_backward(*[value for value, known in zip(values, ctx.is_tensor) if known])
        ctx.kinds = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        ctx.casts = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ctx.kinds]
        ctx.chance = torch.get_rng_state()
        ctx.devices = sorted({value.get_device() for value in values if isinstance(value, torch.Tensor) and value.is_cuda})
        ctx.cuda_chance = [torch.cuda.get_rng_state(device) for device in ctx.devices]
        n = len(values) - len(names)
        results = function(*values[:n], **dict(zip(names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        ctx.mark_non_differentiable(*[y for y in some if not (y.is_floating_point() or y.is_complex())])
        return results

    @staticmethod
    def backward(ctx, *gradients):
        tensors = iter(ctx.saved_tensors)
        values = []
        for known, other in zip(ctx.is_tensor, ctx.others):
            if known:
                tensor = next(tensors)
                other = tensor.detach().requires_grad_(tensor.requires_grad)
            values.append(other)
        n = len(values) - len(ctx.names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(ctx.devices))
            torch.set_rng_state(ctx.chance)
            for device, state in zip(ctx.devices, ctx.cuda_chance):
                torch.cuda.set_rng_state(state, device)
            for kind, enabled, dtype in ctx.casts:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            with torch.enable_grad():
                results = ctx.function(*values[:n], **dict(zip(ctx.names, values[n:])))
        some = results if isinstance(results, tuple) else (results,)
        pairs = [(y, g) for y, g in zip(some, gradients) if y.requires_grad]
        if pairs:
            with torch.enable_grad():
                number = sum((y * g).sum() for y, g in pairs)
            number.backward()
        return (None, None, None, *(value.grad if known else None for value, known in zip(values, ctx.is_tensor)))


def checkpoint(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    wish = torch.ones((), requires_grad=True)
    return _Again.apply(wish, function, tuple(kwargs), *args, *kwargs.values())
