"""What the tests of ranks share: a right ring, its driver and calls, and a run beside a neighbour's exercise."""

import torch

from autograder.sandbox import Call, Cell, Engine
from mlsys_course.desk.check import encode

from .conftest import MARK, RIGHT, Teacher, graded, is_right

RING = """
import torch
def ring(x, comm):
    y, size = x.clone(), comm.world_size
    chunks = y.tensor_split(size)
    for step in range(2 * size - 2):
        comm.isend(chunks[(comm.rank - step) % size], (comm.rank + 1) % size)
        target = chunks[(comm.rank - step - 1) % size]
        got = comm.recv(torch.empty_like(target), (comm.rank - 1) % size)
        target.copy_(target + got if step < size - 1 else got)
    return y
"""
NEIGHBOURS = """
import os, time, torch
def neighbours(comm):
    return (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
"""


def ring_call(key: str, world_size: int, length: int = 5, seconds: float = 4.0, dtype=torch.float32) -> Call:
    inputs = [{"x": torch.full((length,), MARK + rank, dtype=dtype)} for rank in range(world_size)]
    return Call(key, seconds=seconds, inputs=b"", ranks=[encode(own) for own in inputs])


def outcome_of(engine: Engine, source: str, world_size: int = 3, seconds: float = 4.0, **more):
    """The run, and the outcome of one call to so many ranks; a neighbour's exercise must not notice."""
    teacher = Teacher({"ring": [ring_call("one", world_size, seconds=seconds, **more)]})
    run = engine.run([Cell(source), graded("ring"), Cell(RIGHT["double"]), graded("double")], teacher)
    assert is_right(run.outcomes["double"], 2)
    return run, run.outcomes["ring"]["one"]
