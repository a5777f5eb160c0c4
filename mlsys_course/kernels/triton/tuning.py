"""Which sizes of tiles a kernel tries: on a card all of them once, in Triton's interpreter the last, smallest one."""

import triton


def configs(*choices: dict[str, int]) -> list[triton.Config]:
    """Each choice has the kernel's own sizes, and ``num_warps`` and ``num_stages``; the smallest stands last."""
    chosen = choices[-1:] if triton.knobs.runtime.interpret else choices
    own = ("num_warps", "num_stages")
    found = []
    for choice in chosen:
        sizes = {name: size for name, size in choice.items() if name not in own}
        found.append(triton.Config(sizes, **{name: choice[name] for name in own}))
    return found
