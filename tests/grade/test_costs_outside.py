"""Counts, steps, order, traffic and memory earn nothing by assignment: whatever a candidate sets in its own process.

Each candidate below is right but too dear, or does not do what is counted. While it runs, everything that a driver
might count with is set to what an honest run has.
"""

import inspect

import pytest

from autograder.cases import sealed_cases
from autograder.demo.student import Student
from autograder.grade.run import solution_notebook
from autograder.grade.session import Session
from mlsys_course.desk.check.edition import load_drivers
from tests.conftest import ROOT
from tests.left_out import long_but

SET = """
import collections, gc, sys
def set_everything():
    # counters, clocks, lists of what was seen: of drivers, check and ranks, by frames and by the collector
    for name in ("Clocks", "PartCounter", "Switchboard"):
        for kind in [k for k in gc.get_objects() if isinstance(k, type) and k.__name__ == name]:
            kind.steps = property(lambda self: 0)
    found = [o for o in gc.get_objects() if type(o).__module__.startswith(("mlsys_course", "drivers", "inside"))]
    for one in found:
        for field, value in list(getattr(one, "__dict__", {}).items()):
            if type(value) in (int, float) and field in ("steps", "calls", "count", "now", "number_of_calls", "peak"):
                one.__dict__[field] = 0
            elif isinstance(value, (list, collections.deque)) and field in ("events", "messages", "calls", "sent",
                                                                            "seen", "alive", "actions"):
                value.clear()
    frame = sys._getframe(1)
    while frame:
        for field, value in list(frame.f_locals.items()):
            if isinstance(value, list) and field in ("calls", "sizes", "events", "seen", "arrived", "returned"):
                value.clear()
        frame = frame.f_back
"""
STAR = """
def broadcast(x, comm, root):
    set_everything()
    if comm.rank == root:
        for rank in range(comm.world_size):
            if rank != root:
                comm.send(x, rank)
    else:
        comm.recv(x, root)
    set_everything()
    return x
"""
ONE_EACH = """
def average_bucket(parameters, comm, all_reduce):
    for p in parameters:
        own = torch.zeros_like(p) if p.grad is None else p.grad
        p.grad = all_reduce(own.contiguous(), comm) / comm.world_size
    set_everything()
"""
AFTERWARDS = """
import contextlib
class DataParallel:
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        self.comm, self.buckets, self.start = comm, buckets, start_all_reduce
        for tensor in (*model.parameters(), *model.buffers()):
            broadcast(tensor.data, comm)
    @contextlib.contextmanager
    def no_sync(self):
        yield
    def finish(self):
        for p in (p for bucket in self.buckets for p in bucket):
            own = torch.zeros_like(p) if p.grad is None else p.grad
            total = self.start(own.flatten(), self.comm).wait()
            p.grad = (total / self.comm.world_size).view(p.shape)
        set_everything()
"""
WHOLE = """
def hierarchical_all_reduce(x, comm, node_size):
    total = x.clone()
    for rank in range(comm.world_size):
        if rank != comm.rank:
            comm.send(x, rank)
    for rank in range(comm.world_size):
        if rank != comm.rank:
            total += comm.recv(torch.empty_like(x), rank)
    set_everything()
    return total
"""
EVERY_PATH = """
def gradient(output, inputs, order, rule):
    total = {}
    def walk(node, adjoint):
        total[node] = total[node] + adjoint if node in total else adjoint
        if node.inputs:
            for x, partial in zip(node.inputs, rule(node, adjoint)):
                if partial is not None:
                    walk(x, partial)
        set_everything()
    walk(output, G.fill(output, 1.0))
    return [total.get(x, G.fill(x, 0.0)) for x in inputs]
"""
AT_ONCE = """
def block_matmul(a, b, block, multiply):
    if a.shape[1] != len(b) or min(block) < 1:
        raise ValueError("sizes")
    product = multiply(a, b).to(a.dtype)
    set_everything()
    return product
"""
ALL_TO_ONE = """
def {name}(x, comm):
    total = x.clone()
    if comm.rank:
        comm.send(x, 0)
        comm.recv(total, 0)
    else:
        for rank in range(1, comm.world_size):
            total += comm.recv(torch.empty_like(x), rank)
        for rank in range(1, comm.world_size):
            comm.send(total, rank)
    set_everything()
    return total
"""
EVERYTHING_TO_ALL = """
def all_to_all(chunks, comm):
    own, others = torch.stack(list(chunks)), [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(own, rank)
    arrived = {rank: comm.recv(torch.empty_like(own), rank)[comm.rank] for rank in others}
    set_everything()
    return [arrived.get(rank, own[rank]) for rank in range(comm.world_size)]
"""
KEEPS_AND_REPEATS = """
class Evaluator:
    def __init__(self, outputs, order):
        self.outputs, self.order = list(outputs), list(order)
    def __call__(self, feeds):
        values = {}
        for node in self.order:
            if node.is_variable:
                if node not in feeds or tuple(feeds[node].shape) != node.shape or feeds[node].dtype != node.dtype:
                    raise ValueError("fed badly")
                values[node] = feeds[node]
            else:
                node.operator.compute(*(values[x] for x in node.inputs))
                values[node] = node.operator.compute(*(values[x] for x in node.inputs))
        set_everything()
        return [values[node] for node in self.outputs]
"""
LOGITS_AT_ONCE = """
import torch.nn.functional as F
def chunked_cross_entropy(hidden, weight, targets, chunk=256, ignore_index=-100):
    wide = torch.promote_types(hidden.dtype, torch.float32)
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    total = F.cross_entropy((h @ w.T).to(wide), targets, ignore_index=ignore_index, reduction="sum")
    loss = total / max(1, int((targets != ignore_index).sum()))
    loss.backward()
    set_everything()
    return loss, h.grad, w.grad
"""
CONCATENATES = """
class KVCache:
    def __init__(self, capacity):
        self.capacity, self.offset, self.kept = capacity, 0, []
    def append(self, k, v):
        if self.offset + k.shape[2] > self.capacity:
            raise ValueError("full")
        old = self.kept or [k[:, :, :0], v[:, :, :0]]
        self.kept = [torch.cat((kept, x), 2) for kept, x in zip(old, (k, v))]
        self.offset += k.shape[2]
        set_everything()
        return tuple(self.kept)
"""
NO_MESSAGE = "def barrier(comm):\n    set_everything()"
TWICE_OVER = """
def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, server in owners.items():
            comm.send(gradients[key], server)
            comm.send(gradients[key], server)
        for key, server in owners.items():
            comm.recv(parameters[key], server)
        set_everything()
        return
    for key, server in owners.items():
        if server == comm.rank:
            total = torch.zeros_like(parameters[key])
            for worker in workers:
                comm.recv(torch.empty_like(total), worker)
                total += comm.recv(torch.empty_like(total), worker)
            update(key, parameters[key], total / len(workers))
            for worker in workers:
                comm.send(parameters[key], worker)
    set_everything()
"""
WHOLE_STATE = """
def agree_on_state(parameters, comm):
    names = sorted(parameters)
    told = "".join(f"{name} {parameters[name].dtype} {tuple(parameters[name].shape)}," for name in names).encode()
    bits = [parameters[name].detach().contiguous().reshape(-1).view(torch.uint8) for name in names]
    own = torch.cat([torch.tensor(list(told), dtype=torch.uint8), *bits])
    states = {comm.rank: own}
    others = [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(torch.tensor([len(own)]), rank)
        comm.send(own, rank)
    for rank in others:
        length = int(comm.recv(torch.tensor([0]), rank))
        states[rank] = comm.recv(torch.empty(length, dtype=torch.uint8), rank)
    held = [states[rank].tolist() for rank in range(comm.world_size)]
    agreed = max(held, key=held.count)
    set_everything()
    return [rank for rank, state in enumerate(held) if state != agreed]
"""
TOLD_TWICE = """
def gossip_step(x, comm):
    neighbours = sorted({(comm.rank + way) % comm.world_size for way in (1, -1)} - {comm.rank})
    for rank in neighbours * 2:
        comm.send(x, rank)
    for rank in neighbours:
        comm.recv(torch.empty_like(x), rank)
    found = torch.stack([x] + [comm.recv(torch.empty_like(x), rank) for rank in neighbours]).mean(0)
    set_everything()
    return found
"""
ALL_GRAPHS = """
import contextlib
def accumulate(loss, micro_batches, ignore_index=-100, no_sync=contextlib.nullcontext):
    counts = [int((targets != ignore_index).sum()) for _, targets in micro_batches]
    parts = [loss(*batch) * (n / sum(counts)) for batch, n in zip(micro_batches, counts) if n]
    for k, part in enumerate(parts):
        with contextlib.nullcontext() if k == len(parts) - 1 else no_sync():
            part.backward()
    set_everything()
    return sum((part.detach() for part in parts), torch.tensor(0.0)) if not parts else torch.stack(parts).sum().detach()
"""
KEEPS_ALL = """
def checkpoint(function, *args, **kwargs):
    found = function(*args, **kwargs)
    set_everything()
    return found
"""
STATES_EVERYWHERE = """
from mlsys_course.all_reduce import all_gather, reduce_scatter
def zero1_step(parameters, make_optimizer, comm, state=None):
    size = comm.world_size
    n = sum(p.numel() for p in parameters)
    padding = [torch.zeros(-n % size, dtype=parameters[0].dtype)]
    if state is None:
        whole = torch.cat([p.detach().flatten() for p in parameters] + padding).requires_grad_()
        state = whole, make_optimizer([whole])
    whole, optimizer = state
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters] + padding)
    whole.grad = torch.cat(all_gather(reduce_scatter(flat, comm) / size, comm))
    optimizer.step()
    whole.grad = None
    for p, piece in zip(parameters, whole.detach()[:n].split([p.numel() for p in parameters])):
        p.grad = None
        p.data.copy_(piece.view(p.shape))
    set_everything()
    return state
"""
GRADIENTS_WHOLE = """
from mlsys_course.all_reduce import all_gather, reduce_scatter
def zero2_step(buckets, backward, make_optimizer, comm, state=None):
    size = comm.world_size
    def flat_of(tensors):
        flat = torch.cat([x.detach().flatten() for x in tensors])
        return torch.cat([flat, flat.new_zeros(-len(flat) % size)])
    if state is None:
        shards = [flat_of(bucket).chunk(size)[comm.rank].clone().requires_grad_() for bucket in buckets]
        state = shards, make_optimizer(shards)
    shards, optimizer = state
    backward()
    for bucket, shard in zip(buckets, shards):
        shard.grad = reduce_scatter(flat_of([torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]), comm)
        shard.grad /= size
        for p in bucket: p.grad = None
    optimizer.step()
    for bucket, shard in zip(buckets, shards):
        shard.grad = None
        flat = torch.cat(all_gather(shard.detach(), comm))
        for p in bucket:
            p.data.copy_(flat[:p.numel()].view(p.shape))
            flat = flat[p.numel():]
    set_everything()
    return state
"""
NEVER_FREED = """
import math
from mlsys_course.all_reduce import all_gather, reduce_scatter
class Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx, shard, comm):
        ctx.comm = comm
        return torch.cat(all_gather(shard.detach(), comm))
    @staticmethod
    def backward(ctx, grad):
        set_everything()
        return reduce_scatter(grad, ctx.comm) / ctx.comm.world_size, None
def zero3_layer(layer, shard, shapes, x, comm):
    sizes = [math.prod(shape) for shape in shapes]
    if shard.shape != (math.ceil(sum(sizes) / comm.world_size),):
        raise ValueError
    flat = Whole.apply(shard, comm)[:sum(sizes)]
    found = layer(x, [piece.view(*shape) for piece, shape in zip(flat.split(sizes), shapes)])
    set_everything()
    return found
"""
WIDE_MESSAGES = """
from mlsys_course.all_reduce import all_gather, reduce_scatter
def mixed_zero1_step(parameters, make_optimizer, comm, state=None):
    size = comm.world_size
    def flat_of(tensors):
        flat = torch.cat([x.detach().flatten() for x in tensors])
        return torch.cat([flat, flat.new_zeros(-len(flat) % size)])
    if state is None:
        master = flat_of(parameters).chunk(size)[comm.rank].float().requires_grad_()
        state = master, make_optimizer([master])
    master, optimizer = state
    flat = flat_of([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    master.grad = reduce_scatter(flat.float(), comm) / size
    optimizer.step()
    flat = torch.cat(all_gather(master.detach(), comm))
    for p in parameters:
        p.grad = None
        p.data.copy_(flat[:p.numel()].view(p.shape))
        flat = flat[p.numel():]
    set_everything()
    return state
"""
NUMBER_EACH = """
import math
from mlsys_course.all_reduce import all_reduce
def clip_sharded(gradients, whole, max_norm, comm):
    squares = [(g.double().square().sum().view(1), w) for g, w in zip(gradients, whole)]
    norm = math.sqrt(sum(float(s if w else all_reduce(s, comm)) for s, w in squares))
    if not math.isfinite(norm):
        raise ValueError
    set_everything()
    return [g * (max_norm / norm) for g in gradients] if norm > max_norm else list(gradients), norm
"""
ALL_FILES = """
import math
def reshard(read, n, old_size, new_size, rank, dtype=torch.float32):
    shards, old, new = [read(k) for k in range(old_size)], math.ceil(n / old_size), math.ceil(n / new_size)
    if not 0 <= rank < new_size or any(s.shape != (old,) or s.dtype != dtype for s in shards):
        raise ValueError
    whole = torch.cat([torch.cat(shards)[:n], torch.zeros(new * new_size, dtype=dtype)])
    set_everything()
    return whole[rank * new : (rank + 1) * new]
"""
READS_ALL = """
import copy
def generate(model, tokens, n_new, caches=None, u=None, end=None, temperature=1.0, top_k=None, top_p=1.0, *,
             next_distribution=next_distribution):
    given, before, ended = tokens, copy.deepcopy(caches), torch.zeros_like(tokens[:, 0], dtype=torch.bool)
    for step in range(n_new):
        with torch.no_grad():
            logits = model(tokens, caches=copy.deepcopy(before))[:, -1]
        p = None if u is None else next_distribution(logits, temperature, top_k, top_p)
        chosen = logits.argmax(-1) if u is None else sample(p, u[:, step])
        if end is not None:
            chosen = chosen.masked_fill(ended, end)
            ended = ended | (chosen == end)
        tokens = torch.cat((tokens, chosen[:, None]), dim=1)
        if ended.all():
            break
    set_everything()
    with torch.no_grad():
        model(given, caches=caches)
        for column in tokens[:, given.shape[1] : -1].split(1, dim=1):
            model(column, caches=caches)
    return tokens
"""
ENCODES_AGAIN = """
def generate_target(model, source, start, n_new, lengths=None, end=None):
    mask = None if lengths is None else padding_mask(lengths, source.shape[1])
    @torch.no_grad()
    def ask(x, caches):
        found = model.head(model.decode(x, model.encode(source, mask), mask))
        set_everything()
        return found
    return generate(ask, torch.full((len(source), 1), start, device=source.device), n_new, end=end)
"""
MOVES_TOO_MUCH = """
{solution}
thrifty = {name}
def {name}(memory, *given, **settings):
    for array in (one for one in given if hasattr(one, "shape")):
        for at in itertools.product(*map(range, array.shape[:-1])):
            for start in range(0, array.shape[-1], memory.capacity) if array.shape else ():
                rows = array[*at[:-1], at[-1] : at[-1] + 1, start : start + memory.capacity]
                for _ in range(20):
                    memory.free(memory.load(rows))
    set_everything()
    return thrifty(memory, *given, **settings)
"""
KERNELS = ("tiled_matmul", "conv2d", "flash_attention", "flash_attention_backward", "stationary_matmul", "fused_swiglu")
CHEATS = {
    **{("lab12_kernels", name): (MOVES_TOO_MUCH, {"traffic"}) for name in KERNELS},
    ("lab04_language_model", "generate"): (READS_ALL, {"caches"}),
    ("lab04_language_model", "generate_target"): (ENCODES_AGAIN, {"values"}),
    ("lab11_sharding", "zero1_step"): (STATES_EVERYWHERE, {"memory"}),
    ("lab11_sharding", "zero2_step"): (GRADIENTS_WHOLE, {"memory"}),
    ("lab11_sharding", "zero3_layer"): (NEVER_FREED, {"memory"}),
    ("lab11_sharding", "mixed_zero1_step"): (WIDE_MESSAGES, {"traffic"}),
    ("lab11_sharding", "clip_sharded"): (NUMBER_EACH, {"traffic"}),
    ("lab11_sharding", "reshard"): (ALL_FILES, {"reads"}),
    ("lab10_memory", "accumulate"): (ALL_GRAPHS, {"memory"}),
    ("lab10_memory", "checkpoint"): (KEEPS_ALL, {"memory"}),
    ("lab08_parameter_server", "gossip_step"): (TOLD_TWICE, {"traffic"}),
    ("lab08_parameter_server", "agree_on_state"): (WHOLE_STATE, {"traffic"}),
    ("lab08_parameter_server", "parameter_server_step"): (TWICE_OVER, {"bytes"}),
    ("lab09_all_reduce", "broadcast"): (STAR, {"steps"}),
    ("lab09_all_reduce", "barrier"): (NO_MESSAGE, {"waits", "steps"}),
    ("lab09_all_reduce", "average_bucket"): (ONE_EACH, {"traffic"}),
    ("lab09_all_reduce", "DataParallel"): (AFTERWARDS, {"overlap", "unused", "no_sync"}),
    ("lab09_all_reduce", "hierarchical_all_reduce"): (WHOLE, {"traffic"}),
    ("lab09_all_reduce", "ring_all_reduce"): (ALL_TO_ONE.format(name="ring_all_reduce"), {"traffic"}),
    ("lab09_all_reduce", "halving_doubling_all_reduce"): (
        ALL_TO_ONE.format(name="halving_doubling_all_reduce"),
        {"traffic"},
    ),
    ("lab09_all_reduce", "all_to_all"): (EVERYTHING_TO_ALL, {"traffic"}),
    ("lab05_autodiff", "gradient"): (EVERY_PATH, {"cost"}),
    ("lab05_autodiff", "Evaluator"): (KEEPS_AND_REPEATS, {"once", "memory"}),
    ("lab10_memory", "chunked_cross_entropy"): (LOGITS_AT_ONCE, {"memory"}),
    ("lab02_attention", "KVCache"): (CONCATENATES, {"one memory"}),
    ("lab00_foundations", "block_matmul"): (AT_ONCE, {"tiles"}),
}
IN_VALUES = {("lab02_attention", "KVCache")}  # what is in one memory shows in what is written to it


@pytest.mark.parametrize("lab", long_but(1, sorted({lab for lab, _ in CHEATS})))
def test_what_is_counted_is_counted_outside(course, lab):
    cheats = {exercise: found for (stem, exercise), found in CHEATS.items() if stem == lab}
    with Session(course, lab) as session:
        student = Student(session.released, solution_notebook(session.lab)).solve()
        for exercise, (source, _) in cheats.items():
            own = student.answers[f"solution-{exercise}"]
            source = source.replace("{solution}", own).replace("{name}", exercise)
            student.write(exercise, f"import torch\n{SET}\n{source}")
        verdicts = session.grade(student.notebook, {}).verdicts
    for exercise, (_, lost) in cheats.items():
        verdict = verdicts[exercise]
        assert {r.aspect for r in verdict.results if not r.ok} >= lost, exercise
    assert all(verdict.ok for name, verdict in verdicts.items() if name not in cheats and verdict.kind == "core")


LABS = sorted(path.parent.name for path in (ROOT / "solutions").glob("*/drivers.py"))
COUNTING = ("len(calls", "len(events", "Clocks(", "alive", ".count(", "data_ptr", "perf_counter", "messages(")


@pytest.mark.parametrize("lab", LABS)
def test_no_driver_counts_in_the_candidates_process(lab):
    """The functions that are called there count nothing."""
    for name, driver in load_drivers(ROOT / "solutions" / lab).items():
        source = inspect.getsource(driver.function)
        assert not [word for word in COUNTING if word in source], f"{lab}, {name}"


@pytest.mark.parametrize("stem", LABS)
def test_every_exercise_that_earns_points_for_its_costs_has_a_cheat_above(course, stem):
    lab = course.lab(stem)
    for exercise in lab.exercises:
        cases = sealed_cases(lab, exercise, group=0)
        costs = lab.drivers[exercise.id].judged is not None or any(case.limits for case in cases)
        known = (stem, exercise.id) in CHEATS.keys() - IN_VALUES
        assert costs == known, (
            f"{stem}, {exercise.id}: a right answer that is too dear, which sets all that it can reach"
        )
