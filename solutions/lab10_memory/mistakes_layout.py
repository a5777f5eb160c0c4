"""Lab 10, sealed: misconceptions about the caching allocator and adapters."""

import itertools

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course.memory import CachingAllocator, LoRALinear

# ---- CachingAllocator ------------------------------------------------------------------------------------------------

GIVEN_BACK = "self._segments = [segment for segment in self._segments if segment.in_use]"
ROUNDED = "-(-size // self.block_size) * self.block_size"
SMALLEST = "min(free, key=lambda found: (found[1].size, found[1].address), default=None)"
NEIGHBOURS = "if merged and not merged[-1].in_use and not block.in_use:"


class AcrossSegments(CachingAllocator):
    """As if all segments were one."""

    def free(self, address):
        super().free(address)
        segments = self._segments
        for left, right in reversed(list(itertools.pairwise(segments))):
            if not left.in_use and not right.in_use:
                left.blocks += right.blocks
                left.coalesce()
                segments.remove(right)


mistake = wrong(CachingAllocator)
ALLOCATOR = [
    mistake("sizes as they are asked for", "A tensor of 1 byte: how many bytes does its block have?",
        ROUNDED, "size"),
    mistake("rounds down", "May a block be smaller than what was asked for?",
        ROUNDED, "max(size // self.block_size, 1) * self.block_size"),
    mistake("always 512", "What are sizes rounded to, where the caller says another block size?",
        ROUNDED, "-(-size // 512) * 512"),
    mistake("a segment for each",
        "The device is asked for 16 KB and a tensor takes 1. Who gets the rest?",
        "if block.size > rounded:", "if False:"),
    mistake("a segment of just its size", "How much is the device asked for where little is wanted?",
        "return max(size, self.segment_size)", "return size"),
    mistake("large ones by whole segments", "A tensor that is larger than a segment: how large is its own?",
        "return max(size, self.segment_size)", "return -(-size // self.segment_size) * self.segment_size"),
    mistake("the first hole",
        "Several holes are large enough. Which one do you take, and which is left for a larger tensor?",
        SMALLEST, "free[0] if free else None"),
    mistake("the largest hole", "You take from the largest hole. What is left for a tensor that needs all of it?",
        SMALLEST, "max(free, key=lambda found: (found[1].size, -found[1].address), default=None)"),
    mistake("of equal holes the last", "Two holes are equally large. Which address comes first?",
        "(found[1].size, found[1].address)", "(found[1].size, -found[1].address)"),
    mistake("never coalesces",
        "Two free blocks lie side by side, and a tensor fits into neither. What are they together?",
        NEIGHBOURS, "if False:"),
    mistake("joins what is in use", "A freed block's neighbour is in use. May it be joined?",
        NEIGHBOURS, "if merged and not merged[-1].in_use:"),
    Misconception("across segments", AcrossSegments,
        "Two segments have addresses side by side. Did the device give them in one piece?"),
    mistake("never gives back",
        "The device is full, and a whole segment lies empty in your cache. Must this request fail?",
        GIVEN_BACK, "pass"),
    mistake("gives back at once", "When does an empty segment go back to the device, and why not before?",
        "segment.coalesce()\n", f"segment.coalesce()\n                    {GIVEN_BACK}\n"),
    mistake("addresses come again",
        "A segment was given back. Where does the next one begin?",
        "block = Block(self._end, wanted)", "block = Block(self.reserved, wanted)"),
    mistake("more than there is", "How many bytes has the device?",
        "        if self.reserved + wanted > self.capacity:\n            left", "        if False:\n            left"),
    mistake("nothing is a block", "A tensor of no byte, or of fewer: what does the exercise want?",
        "if size < 1:", "if False:"),
    mistake("freed twice", "A block is freed that is free already. Whose mistake is hidden by saying nothing?",
        "if block.address == address and block.in_use:", "if block.address == address:"),
]  # fmt: skip

# ---- LoRALinear ------------------------------------------------------------------------------------------------------


class Drifts(LoRALinear):
    """Subtracts what was added."""

    @torch.no_grad()
    def unmerge(self):
        if self._unmerged is None:
            raise RuntimeError
        self.base.weight.copy_(self.base.weight - self.scale * (self.b @ self.a))
        self._unmerged = None


class KeepsAdding(LoRALinear):
    """The term is in the weight, and added once more."""

    def forward(self, x):
        term = (x.to(self.a.dtype) @ self.a.T) @ self.b.T
        y = self.base(x)
        return (y + self.scale * term).to(y.dtype)


mistake = wrong(LoRALinear)
LORA = [
    mistake("alpha alone", "Alpha stays, and the rank is doubled. What should become of the size of the term?",
        "alpha / len(a)", "alpha"),
    mistake("by the root of the rank", "By what is alpha divided?", "alpha / len(a)", "alpha / len(a) ** 0.5"),
    mistake("no scale", "Where does alpha come in?", "self.scale = alpha / len(a)", "self.scale = 1.0"),
    mistake("b begins at random", "Before the first step the layer should do what it did. What is B A at first?",
        "a.new_zeros(base.out_features, len(a))", "torch.ones(base.out_features, len(a), dtype=a.dtype)"),
    mistake("both begin at zero", "If A and B are both 0, what are their gradients?",
        "nn.Parameter(a.detach().clone())", "nn.Parameter(torch.zeros_like(a))"),
    mistake("trains the base", "Which parameters of the layer does the optimizer get?",
        "base.requires_grad_(False)", "base"),
    mistake("trains the base's bias", "Is the base's bias frozen as well?",
        "self.base = base.requires_grad_(False)", "self.base = base\n        base.weight.requires_grad_(False)"),
    mistake("a is whose it was", "The optimizer changes A in place. Who else holds that tensor?",
        "a.detach().clone()", "a"),
    mistake("a stays", "Which of the two matrices does the optimizer get?",
        "nn.Parameter(a.detach().clone())", "nn.Parameter(a.detach().clone(), requires_grad=False)"),
    Misconception("adds it once more", KeepsAdding,
        "The term is in the weight now. What does forward add?"),
    mistake("merges without the scale", "What does forward add to the base, and what does merge?",
        "self.base.weight + self.scale * (self.b @ self.a)", "self.base.weight + self.b @ self.a"),
    Misconception("drifts", Drifts,
        "Add a small number to a large one in 16 bits, and take it away again. Is it the same?"),
    mistake("merged twice", "What is in the weight after a second merge?",
        "if self.merged:\n            raise RuntimeError(\"this adapter is merged already; unmerge() first\")", ""),
    mistake("unmerged before it was merged", "There is nothing to take away yet. Does your unmerge say so?",
        "if self._unmerged is None:\n            raise RuntimeError(\"this adapter is not merged; merge() first\")",
        "if self._unmerged is None:\n            return"),
    mistake("around anything", "An adapter stands for the product with a matrix. What does a convolution have?",
        "if not isinstance(base, nn.Linear):", "if False:",
        "if a.ndim != 2 or a.shape[1] != base.in_features:", "if False:",
        "base.out_features, len(a)", "getattr(base, 'out_features', 1), len(a)"),
]  # fmt: skip
