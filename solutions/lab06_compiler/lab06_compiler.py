# %% [markdown]
# # Lab 6: a graph compiler
#
# Lab 5's graphs say what is to be computed, not how. Between the two is room: values that are computed twice or for
# nobody, three products that could be one, forty passes over memory where three would do, buffers that could be shared.
# You will build the compiler that uses it: tracing, guards, rewrites, fusion, a memory plan, an order. At the end a GPT
# written in plain arithmetic has become another program with the same results, and you can say what each step brought.
#
# **Time:** seven hours. **Points:** 100. **Before this:** lab 5 (graphs and gradients).
#
# The compilers that you build here may not be called: no `torch.compile`, `torch.jit`, `torch.fx`, `torch.export`.

# %%
import contextlib
import functools
import io
import math
import random
import time

import torch

import mlsys_course.substrate.graph as G
from mlsys_course.desk.carry import take
from mlsys_course.desk.check import check
from mlsys_course.substrate.graph.arguments import argument
from mlsys_course.substrate.graph.arithmetic import Elementwise
from mlsys_course.substrate.graph.models import plain_gpt, plain_gpt_weights, variables
from mlsys_course.substrate.plot import COLOURS, figure

# %% [markdown]
# ## 1. Define, then run
#
# PyTorch's eager mode is **define-and-run**: each line computes. Lab 5's is **define-then-run**: the lines make a
# graph, which runs later, again and again. The first can do all that Python can; the second can be looked at as a whole
# before it runs, and changed. A **tracer** goes from one to the other: it calls an ordinary function once, with nodes
# in place of tensors, and keeps what it returns.
#
# ```
#   f(x, w, 3)     x, w tensors           trace(f, [x, w, 3])     x, w nodes; 3 is still 3
#     y = x @ w    a product is computed    y = x @ w             a node is made
#     y * 3        ...                      y * 3                 another; the 3 is part of the graph
# ```
#
# What the function does besides is lost: it happened once, while tracing. A graph does not print, draws no random
# numbers (those drawn while tracing would be constants, the same in every run), and updates nobody's tensor. Nor does a
# node have a value that an `if`, a `while`, `float(x)` or a shape could depend on. A tracer that is silent about these
# makes programs that are wrong in silence, so yours refuses.
#
# ### Exercise `trace` (12 points)
#
# Points by part: the graph 4, Python's values and fixed results 3, refusals 5. `argument(name, shape, dtype)`, imported
# above, makes a variable like `G.variable`, and raises `G.GraphError`, a ValueError, where it is updated in place. A
# node in an `if`, `x[x > 0]` raise it by themselves; `float(x)`, `[1] * x` and `x.item()` raise a TypeError or an
# AttributeError, as everything does that nodes do not know. `contextlib.redirect_stdout` catches what is printed;
# `torch.get_rng_state()` and `random.getstate()` tell whether somebody has drawn.


# %% exercise="trace"
def trace(function, arguments):
    """The graph of function(*arguments): a list of its inputs, and a list of its outputs.

    arguments: a list, which stays as it is. Of each tensor an input is made, a variable of its shape (also of no axes)
        and dtype, a new one in each call of trace; what else there is (numbers, words, None) is handed on as it is.
    The inputs are in the arguments' order, all of them, needed or not. The outputs are what the function returns: one
        result, or the entries of a tuple or list. A node stays as it is; a tensor, an int, a float or a bool becomes
        G.constant(it).
    Raises ValueError, such as G.GraphError(words), if the function prints to sys.stdout, draws from PyTorch's or
        Python's generator (used or not), updates an argument in place, meets a TypeError or an AttributeError, decides
        by a node, or returns anything else, None too. Other errors of the function's own go through. Whatever
        happens, sys.stdout is afterwards what it was.
    """
    ### BEGIN SOLUTION
    inputs, given = [], []
    for value in arguments:
        if isinstance(value, torch.Tensor):
            value = argument(f"x{len(inputs)}", value.shape, value.dtype)
            inputs.append(value)
        given.append(value)
    words, states = io.StringIO(), (torch.get_rng_state(), random.getstate())
    try:
        with contextlib.redirect_stdout(words):
            results = function(*given)
    except (TypeError, AttributeError) as problem:
        raise G.GraphError(f"{function.__name__} needs a value that there is not yet: {problem}") from problem
    if words.getvalue():
        raise G.GraphError(f"{function.__name__} prints")
    if not torch.equal(states[0], torch.get_rng_state()) or states[1] != random.getstate():
        raise G.GraphError(f"{function.__name__} draws random numbers")
    outputs = list(results) if isinstance(results, (tuple, list)) else [results]
    for n, result in enumerate(outputs):
        if isinstance(result, (torch.Tensor, int, float)):
            outputs[n] = G.constant(result)
        elif not isinstance(result, G.Node):
            raise G.GraphError(f"{function.__name__} returns {result!r}")
    return inputs, outputs
    ### END SOLUTION


# %% check="trace"
check("trace", trace)

# %% [markdown]
# **Look at it:** your tracer's words beside what PyTorch's own says of the same functions. Where `torch.compile` meets
# something that it cannot trace, it ends the graph there, lets Python do it, and begins another one: a *graph break*.
# `fullgraph=True` makes it refuse, as yours does.


# %% experiment="refusals"
def straight(x):
    return (x * 2 + 1) * x


def decides(x):
    return x * 2 if x.sum() > 0 else x * 3


def decides_on_nodes(x):
    return x * 2 if G.sum(x) > 0 else x * 3


def prints(x):
    y = x * 2
    print("y is on its way")
    return y + 1


example = torch.ones(3)
for function in (straight, decides_on_nodes, prints):
    try:
        _, made = trace(function, [example])
        print(f"{function.__name__}: a graph, {made[0].label} of {made[0].operator.name}")
    except G.GraphError as problem:
        print(f"{function.__name__}: {problem}")
try:
    for function in (straight, decides, prints):
        told = torch._dynamo.explain(function)(example)
        print(f"PyTorch: {function.__name__} has {told.graph_count} graphs, {told.graph_break_count} graph breaks")
except Exception as problem:  # it is no part of this lab: a system without it goes on
    print(f"PyTorch's own report is not to be had here: {type(problem).__name__}")

# %% [markdown]
# ## 2. Just in time
#
# A graph is that of one kind of arguments: these shapes, these dtypes, these Python values. A **just-in-time** compiler
# makes one when it is called, and remembers it with a **guard**: what must be as it was for the graph to be right. The
# next call looks for a program whose guard holds; if there is none, it compiles again. A guard that is missing is a
# wrong result; a guard that is too strict compiles too often.
#
# ### Exercise `jit` (12 points)
#
# Points by part: guards 7, programs 3, errors 2.


# %% exercise="jit"
def jit(function, specialize):
    """A callable that stands for function, with an attribute traces: how often it has asked specialize, 0 at first.

    specialize(function, arguments): a program for arguments like these, a tuple; it has all that is no tensor built in.
    The callable takes any number of arguments, by position: tensors; ints, floats, bools, strings, None, and tuples
        of these. It returns program(*tensors), the call's tensors in their order, without the rest.
    specialize is asked if and only if there is no program for the same number of arguments, with tensors of the same
        shape and dtype at the same places, and elsewhere values of the same type that are the same: 1, 1.0, True and
        "1" are four values, so are 0.0 and -0.0, and (1,) is not (1.0,). All programs are kept.
    What specialize raises goes to the caller; nothing is remembered but the count, and the next such call asks again.
    """
    ### BEGIN SOLUTION
    programs = {}

    def guard(value):
        if isinstance(value, torch.Tensor):
            return "tensor", tuple(value.shape), value.dtype
        return type(value), repr(value)

    def compiled(*arguments):
        key = tuple(guard(value) for value in arguments)
        if key not in programs:
            compiled.traces += 1
            programs[key] = specialize(function, arguments)
        return programs[key](*(value for value in arguments if isinstance(value, torch.Tensor)))

    compiled.traces = 0
    return compiled
    ### END SOLUTION


# %% check="jit"
check("jit", jit)

# %% [markdown]
# **Look at it: static and dynamic models.** Images have one size; sentences have many, and a parse tree is another
# graph for each sentence. Traced once a length, a model of ragged sequences compiles again and again. Real systems pad
# to a few lengths, or make the length a symbol.
#
# *The figure. Programs made over 300 sentences of lengths 1 to 200, mostly short. One program a length (circles) climbs
# past 100 and goes on; padded to the next power of two (squares) there are nine after fifty sentences, and then no
# more, for about 1.4 times as many tokens.*


# %% experiment="ragged"
topological_order = take("autodiff", "topological_order")
Evaluator = take("autodiff", "Evaluator")


def evaluated(function, arguments):
    """A program by your tracer and lab 5's evaluator."""
    inputs, outputs = trace(function, arguments)
    needed = topological_order([*outputs, *inputs])
    run = Evaluator([*outputs, *inputs], needed)
    return lambda *tensors: run(dict(zip(inputs, tensors, strict=True)))[: len(outputs)]


def pooled(x):
    return G.mean(G.tanh(x), 0)


def padded(x):
    size = 2 ** math.ceil(math.log2(len(x)))
    return torch.cat([x, x.new_zeros(size - len(x), x.shape[1])])


lengths = [min(200, 1 + int(random.Random(n).expovariate(1 / 40))) for n in range(300)]
by_length, by_power, rows = jit(pooled, evaluated), jit(pooled, evaluated), []
for length in lengths:
    sentence = torch.ones(length, 4)
    by_length(sentence)
    by_power(padded(sentence))
    rows.append((by_length.traces, by_power.traces))
fig, (ax,) = figure(1, width=6)
ax.plot([row[0] for row in rows], markevery=30, label="a program for each length")
ax.plot([row[1] for row in rows], markevery=30, label="padded to powers of two")
ax.set(xlabel="sentences", ylabel="programs made")
ax.legend()
more = sum(2 ** math.ceil(math.log2(n)) for n in lengths) / sum(lengths)
print(f"{rows[-1][0]} programs against {rows[-1][1]}, for {more:.2f} times the tokens")
fig

# %% [markdown]
# ## 3. Common and dead nodes
#
# From here on the graph is changed, and what it computes is not. Programs repeat themselves: rules of gradients ask for
# the same transpose, people write tanh(x) twice. And what was made on the way and is not needed costs as much as what
# is.
#
# Two nodes are **common** if their operators are equal and their inputs are the same nodes, *after* these have been
# merged themselves: so a pass in order finds whole trees that are alike. Operators compare with `==`, fields included:
# `x * 2` and another `x * 2` have equal operators, `x * 3` has another one. They can be keys of a dict.
#
# ### Exercise `eliminate` (10 points)
#
# Points by part: common nodes 6, dead nodes 2, order 2. `node.operator(*inputs)` makes a node of the same operator.


# %% exercise="eliminate"
def eliminate(order, outputs):
    """The same program with each common value computed once, and nothing that outputs do not need: (order, outputs).

    order: a list of nodes, inputs before users, by number or not; some may not be needed. outputs: a list of some of
        them; it may be empty, and have one node twice. Neither list is changed.
    Two nodes with inputs are common when operators are == and inputs, after merging, are the same in the same order
        (x + y and y + x are not common). Variables and constants are common with themselves only.
    Returns two new lists: the nodes that the new outputs need, once each, inputs before users; and for each of outputs
        its node now. Where nothing below a node was merged it stays the same node, of common ones one of them.
    """
    ### BEGIN SOLUTION
    needed = set(outputs)
    for node in reversed(order):
        if node in needed:
            needed |= set(node.inputs)
    now, first, after = {}, {}, []
    for node in order:
        if node in needed:
            inputs = tuple(now[x] for x in node.inputs)
            key = (node.operator, *inputs)
            if key not in first:
                first[key] = node if inputs == node.inputs else node.operator(*inputs)
                after.append(first[key])
            now[node] = first[key]
    return after, [now[node] for node in outputs]
    ### END SOLUTION


# %% check="eliminate"
check("eliminate", eliminate)

# %% [markdown]
# **Look at it:** a training step of a small GPT, written in plain arithmetic, with lab 5's gradient (yours, if you
# carried it; the course's rules).


# %% experiment="step"
gradient = take("autodiff", "gradient")
from mlsys_course.autodiff import adjoints  # the table of all rules

V, T, B, C = 64, 32, 4, 64
gpt_tensors = plain_gpt_weights(V, T, C, 2)
gpt_w = variables(gpt_tensors)
ids = G.variable("ids", (B, T), torch.int64)
seen = G.constant(torch.zeros(T, T).masked_fill(torch.ones(T, T).triu(1) > 0, -1e9))
logits = plain_gpt(G.one_hot(ids, V), gpt_w, 4, G, G.transpose, seen)
loss = G.cross_entropy(logits, ids)
step = [loss, *gradient(loss, list(gpt_w.values()), topological_order([loss]), adjoints)]
gpt_feeds = {ids: torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))}
gpt_feeds |= {gpt_w[name]: tensor for name, tensor in gpt_tensors.items()}
before = topological_order(step)
after, smaller = eliminate(before, step)
print(f"{len(before)} nodes, {len(after)} without common and dead ones")
old, new = (Evaluator(one, topological_order(one))(gpt_feeds) for one in (step, smaller))
largest = max(float((a - b).abs().max()) for a, b in zip(old, new, strict=True))
print(f"largest difference of loss and gradients: {largest:.1e}")

# %% [markdown]
# ## 4. Rules to a fixed point
#
# Everything else that a compiler knows can be said in **rules**: a pattern, and a template that takes its place. Here a
# rule is a function from a node to a better one of the same value, or to None where its pattern is not there:
#
# ```
#   join_scales:  (x * a) * b     becomes  x * (a b)
#   softmax:      exp(x) / sum(exp(x))     softmax(x)
#   transposes:   A^T B^T                  (B A)^T
# ```
#
# Each is true of real numbers; of floating-point ones it may round otherwise. What one rule makes another may take up,
# so they are applied until none applies: to a **fixed point**. Rules that undo each other have none, and must be
# stopped. A deep graph is too deep for a recursion, and a shared node has many paths to it: visit it once.
#
# ### Exercise `rewrite` (14 points)
#
# Points by part: the fixed point 6, sharing 4, rules that do not end or do harm 4.


# %% exercise="rewrite"
def rewrite(outputs, rules, limit=1000):
    """For each of outputs its node in a graph to none of whose nodes one of the rules applies any more.

    rules: a list of functions; rule(node) is a node with the same value, or None where the rule does not apply. They
        look at a node, and at what is below it; none asks who uses it.
    Inputs are rewritten before the node that uses them; when an input has become another node, node.operator(*inputs)
        takes the node's place, and rules are asked about that. Of several rules the first that applies is taken. What
        it gives is rewritten in turn, with all that is new below it.
    A node that several use is rewritten once, and is shared still; a node is the same node afterwards if no rule
        applied to it or below it. Graphs are thousands of nodes deep, and have 2 ** 40 paths. Neither list is changed.
    Raises ValueError, with the rule's __name__ in its words, when a replacement has another shape or dtype than the
        node, and when rules have been applied more than limit times: the rule that was last. A case asks for no graph
        that needs the very node that it replaces.
    """
    ### BEGIN SOLUTION
    done, turned, used = {}, {}, 0
    stack = list(outputs)
    while stack:
        node = stack[-1]
        if node in turned and turned[node] in done:
            done[node] = done[turned[node]]
        missing = [x for x in node.inputs if x not in done]
        if node in done:
            stack.pop()
        elif missing:
            stack.extend(missing)
        else:
            inputs = tuple(done[x] for x in node.inputs)
            now = node if inputs == node.inputs else node.operator(*inputs)
            for rule in rules:
                better = rule(now)
                if better is not None:
                    used += 1
                    if better.kind != node.kind or used > limit:
                        raise ValueError(f"{rule.__name__} at {node}: {better.kind}, after {used} replacements")
                    turned[node] = better
                    stack.append(better)
                    break
            else:
                done[node] = done[now] = now
    return [done[node] for node in outputs]
    ### END SOLUTION


# %% check="rewrite"
check("rewrite", rewrite)

# %% [markdown]
# **Look at it:** a few rules on the GPT's loss. `plain_gpt` writes its softmax as exp over sum and its norms as
# arithmetic; the rules find both, and put one operator in the place of three to five. Writing rules of your own is
# worth the time: try one that is wrong by a little, and see the difference printed below.
#
# *The figure. Operators of the GPT's forward pass before and after, by kind, as pairs of bars. Exponentials, sums,
# divisions, means and powers are gone, and most multiplications; two softmax and five RMS norms have come; there are as
# many products as before.*


# %% experiment="rules"
def recognize_softmax(node):
    """exp(x) / sum(exp(x)) along one axis."""
    if node.operator.name == "divide":
        top, bottom = node.inputs
        one_axis = bottom.operator.name == "sum" and bottom.inputs[0] is top and bottom.operator.keepdims
        if top.operator.name == "exp" and one_axis and len(bottom.operator.axes) == 1:
            return G.softmax(top.inputs[0], bottom.operator.axes[0])


def recognize_rms_norm(node):
    """x * (mean(x * x) + epsilon) ** -0.5 over the last axis."""
    if node.operator.name == "multiply" and node.inputs[1].operator.name == "power":
        x, power = node.inputs
        shift = power.inputs[0]
        if power.operator.exponent == -0.5 and shift.operator.name == "shift":
            mean = shift.inputs[0]
            if mean.operator.name == "mean" and mean.operator.axes == (len(x.shape) - 1,) and mean.operator.keepdims:
                square = mean.inputs[0]
                if square.operator.name == "multiply" and square.inputs == (x, x):
                    return G.rms_norm(x, G.constant(torch.ones(x.shape[-1], dtype=x.dtype)), shift.operator.amount)


def fold_constants(node):
    if node.inputs and all(x.operator.name == "constant" for x in node.inputs):
        return G.constant(node.operator.compute(*[x.operator.value for x in node.inputs]))


def join_reshapes(node):
    if node.operator.name == node.inputs[0].operator.name == "reshape" if node.inputs else False:
        return G.reshape(node.inputs[0].inputs[0], node.shape)


rules = [recognize_softmax, recognize_rms_norm, fold_constants, join_reshapes]
_, [plain_loss] = eliminate(topological_order([loss]), [loss])
[better_loss] = rewrite([plain_loss], rules)


def operators(*nodes):
    names = [node.operator.name for node in topological_order(nodes) if node.inputs]
    return {name: names.count(name) for name in sorted(set(names))}


found = [operators(plain_loss), operators(better_loss)]
names = sorted({*found[0], *found[1]})
fig, (ax,) = figure(1, width=8)
for n, (count, words) in enumerate(zip(found, ("before", "after"), strict=True)):
    at = [k + 0.4 * n - 0.2 for k in range(len(names))]
    ax.bar(
        at,
        [count.get(name, 0) for name in names],
        0.4,
        color=COLOURS[n],
        label=words,
        hatch="//" * n,
        edgecolor="white",
    )
ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
ax.set(ylabel="operators")
ax.legend()
old, new = (Evaluator([one], topological_order([one]))(gpt_feeds)[0] for one in (plain_loss, better_loss))
print(f"{sum(found[0].values())} operators became {sum(found[1].values())}; the loss {old:.6f} became {new:.6f}")
fig

# %% [markdown]
# ## 5. Three products, or one
#
# Attention multiplies the same activations $X$ (n, C) with three weights. One product with the weights side by side has
# the same multiplications:
#
# $$ X\,[W_q\ W_k\ W_v] = [X W_q\ \ X W_k\ \ X W_v] $$
#
# but reads $X$ once in place of three times. **Arithmetic intensity** is the number of operations for each byte that is
# moved; a product (n, C) by (C, M) in float32 that reads both sides and writes the result has
#
# $$ \frac{2 n C M}{4\,(n C + C M + n M)} $$
#
# A processor that does 100 operations in the time of one byte waits for memory below an intensity of 100. Besides, one
# large product fills more of the machine than three small ones, and is one call.
#
# ### Exercise `merge_qkv` (12 points)
#
# Points by part: products are merged 7, others are left alone 3, edges 2. `G.concatenate(nodes, axis)`; a node is cut
# like a tensor, `y[..., 2:5]`.


# %% exercise="merge_qkv"
def merge_qkv(order, outputs):
    """For each of outputs its node in a graph in which products of one left side with several weights are one product.

    order: all nodes that outputs need, inputs before users, and perhaps others; outputs: a list. Neither is changed.
    Merged are all matmul nodes whose left input is the same node and whose right input is a node without inputs (a
        variable or a constant) of two axes, of any number of columns, where these are two nodes or more: the result
        has one matmul of theirs. Left inputs have two axes or more, and may come from products that are merged
        themselves, layer upon layer. All other products stay products of their own, with their own right input.
    """
    ### BEGIN SOLUTION
    groups = {}
    for node in order:
        if node.operator.name == "matmul":
            x, weight = node.inputs
            if not weight.inputs and len(weight.shape) == 2:
                groups.setdefault(x, []).append(node)
    partners = {node: group for group in groups.values() if len(group) > 1 for node in group}
    now = {}
    for node in order:
        if node in now:
            continue
        if node in partners:
            group, at = partners[node], 0
            wide = now[node.inputs[0]] @ G.concatenate([one.inputs[1] for one in group], 1)
            for one in group:
                now[one] = wide[..., at : at + one.shape[-1]]
                at += one.shape[-1]
        else:
            now[node] = node.operator(*(now[x] for x in node.inputs)) if node.inputs else node
    return [now[node] for node in outputs]
    ### END SOLUTION


# %% check="merge_qkv"
check("merge_qkv", merge_qkv)

# %% [markdown]
# **Look at it:** three products against one, for weights that lie side by side already (a compiler does that once,
# before the first run), over the number of rows. A token that is decoded is a product with few rows.
#
# *The figure. On the left the time of three products over that of one, over rows from 1 to 512. The gain differs from
# machine to machine: here it is 30% for one row and nothing from 128 rows on. On the right the arithmetic intensity of
# both by the formula, on logarithmic axes: with few rows the two are equal, half an operation a byte for one row, since
# it is the weights that are read; with hundreds of rows the merged product lies above. So what few rows gain is not
# memory's: it is two calls less.*


# %% experiment="merged"
def seconds(function, repeats=20):
    """The quickest of several runs, on one thread, so that it matters less what else the machine does."""
    threads, best = torch.get_num_threads(), math.inf
    torch.set_num_threads(1)
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    return best


def intensity(n, c, m):
    return 2 * n * c * m / (4 * (n * c + c * m + n * m))


width, gains = 512, []
weights = [torch.randn(width, width) for _ in range(3)]
side_by_side, counts = torch.cat(weights, 1), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
for n in counts:
    x = torch.randn(n, width)
    gains.append(seconds(lambda x=x: [x @ w for w in weights]) / seconds(lambda x=x: x @ side_by_side))
fig, (left, right) = figure(2)
left.plot(counts, gains)
left.axhline(1, color="0.6", linewidth=0.8)
left.set(xscale="log", xlabel="rows", ylabel="time of three / time of one", ylim=(0, None))
right.plot(counts, [intensity(n, width, width) for n in counts], label="each of three")
right.plot(counts, [intensity(n, width, 3 * width) for n in counts], label="merged")
right.set(xscale="log", yscale="log", xlabel="rows", ylabel="operations a byte")
right.legend()
print(f"three take {gains[0]:.2f} times as long as one with one row, {gains[-1]:.2f} times with 512")
fig

# %% [markdown]
# ### Choice `intensity_choice` (2 points)
#
# Activations (n, C) with n = {{ rows }} and C = {{ width }} are multiplied with three weights (C, C), in float32. By
# the formula above, how does the arithmetic intensity of a product change when the three are merged?
#
# - a: {{ option_a }}
# - b: {{ option_b }}
# - c: {{ option_c }}
# - d: {{ option_d }}

# %% exercise="intensity_choice"
# Assign the letter of your answer, such as "a", to intensity_choice.
### BEGIN SOLUTION
intensity_choice = "{{ intensity_answer }}"
### END SOLUTION

# %% check="intensity_choice"
check("intensity_choice", intensity_choice)

# %% [markdown]
# ## 6. One pass over memory
#
# An element-wise operator does one or two operations on each entry, and reads and writes it: its intensity is far below
# 1, whatever its size. Four in a row read and write four times. As one loop, they read once and write once:
#
# ```
#   t = tanh(x)          for i in range(n):
#   s = t * 2                y[i] = exp(tanh(x[i]) * 2 + 1)
#   y = exp(s + 1)
# ```
#
# What is inside the loop is never in memory. So whoever else wants `t` would have to compute it again, and a compiler
# does not do that here: a value with two users, or one that is asked for, ends its loop. Nor may a small value be
# stretched inside: a row that is added to a thousand rows would be computed a thousand times.
#
# ### Exercise `fuse_elementwise` (10 points)
#
# Points by part: chains and trees 3, several users and outputs 4, shapes 3. `isinstance(node.operator, Elementwise)`
# says whether an operator is element-wise.


# %% exercise="fuse_elementwise"
def fuse_elementwise(order, outputs):
    """The nodes of order that have inputs, in as few groups as possible: a list of lists.

    order: a list of nodes, inputs before users; outputs: a list of some of them. Neither is changed.
    A node x is in one group with a node that uses it if and only if both are element-wise and x has inputs, both have
        the same shape (dtypes may differ), x is not among outputs, and no other node of order uses x. Using it twice,
        as in x * x, is being one user. All others are in other groups, so a node that joins nobody is one alone.
    In each group inputs come before users; groups come in the order of their last nodes in order.
    """
    ### BEGIN SOLUTION
    users = {x: {node for node in order if x in node.inputs} for x in order}
    group_of = {}
    for node in reversed(order):
        if node.inputs:
            group_of[node] = node
            if len(users[node]) == 1 and node not in outputs and isinstance(node.operator, Elementwise):
                [user] = users[node]
                if isinstance(user.operator, Elementwise) and user.shape == node.shape:
                    group_of[node] = group_of[user]
    groups = {}
    for node in order:
        if node in group_of:
            groups.setdefault(group_of[node], []).append(node)
    return [groups[node] for node in order if node in groups]
    ### END SOLUTION


# %% check="fuse_elementwise"
check("fuse_elementwise", fuse_elementwise)

# %% [markdown]
# **Look at it:** no compiler for loops is needed to see the effect. Run a group on a piece of its entries that stays in
# the processor's cache, then on the next piece: what lies between two operators never reaches memory.
#
# *The figure. Time over the number of operators in a chain, on 8 million entries. One operator after the other
# (circles) grows by a whole pass over memory for each; in pieces of 16,384 entries (squares) it grows more slowly.*


# %% experiment="fused"
def chain(x, n):
    for k in range(n):
        x = x * 1.01 if k % 2 else x + 0.01
    return x


def run_group(group, feeds, piece=1 << 14):
    """The last node's value, piece by piece; all inputs from outside have its entries."""
    outside = [x for node in group for x in node.inputs if x not in group]
    result = torch.empty(group[-1].shape, dtype=group[-1].dtype)
    for start in range(0, len(result), piece):
        known = {x: feeds[x][start : start + piece] for x in outside}
        for node in group:
            known[node] = node.operator.compute(*[known[x] for x in node.inputs])
        result[start : start + piece] = known[group[-1]]
    return result


big = torch.randn(8 << 20)
sizes, times = [1, 2, 4, 8, 12], []
for n in sizes:
    (x,), (y,) = trace(chain, [big, n])
    nodes = topological_order([y])
    [group] = fuse_elementwise(nodes, [y])
    whole = Evaluator([y], nodes)
    assert torch.equal(run_group(group, {x: big}), whole({x: big})[0])
    times.append((seconds(lambda: whole({x: big}), 4), seconds(lambda: run_group(group, {x: big}), 4)))  # noqa: B023
fig, (ax,) = figure(1, width=5.5)
ax.plot(sizes, [1e3 * row[0] for row in times], label="one operator after the other")
ax.plot(sizes, [1e3 * row[1] for row in times], label="one group, piece by piece")
ax.set(xlabel="element-wise operators in a row", ylabel="milliseconds", ylim=(0, None))
ax.legend()
print(f"twelve operators: {1e3 * times[-1][0]:.0f} ms, as one group {1e3 * times[-1][1]:.0f} ms")
groups = fuse_elementwise(after, smaller)
print(f"the GPT's training step: {sum(map(len, groups))} operators in {len(groups)} groups")
fig

# %% [markdown]
# ### Question (6 points)
#
# Why does fusing make element-wise operators faster, although it computes the same? Quote your measurement, say what is
# saved, and name what cannot be fused in this way and why.

# %% [markdown] question="why_fused"
# ### BEGIN SOLUTION
# An element-wise operator does about one operation on each four bytes that it reads and on each four that it writes,
# far below what a processor can do in that time; what it costs is memory's, and for small tensors the call's. In the
# figure twelve operators one after the other take several times what they take as one group. Fused, a chain reads its
# inputs once and writes its last result once; everything between stays in registers or in the cache, and there is one
# call in place of twelve. A value with several users, or one that is an output, must be in memory or be computed again;
# a reduction needs all entries before its first result is there, so what follows it is another loop; a stretched value
# would be computed again for each copy.
# ### END SOLUTION

# %% [markdown]
# ## 7. A memory plan
#
# Shapes are known, and with the order it is known when each value is made and read last. So memory can be planned
# before the first run: one block, the **arena**, and a place in it for each value, such that values that are alive at
# one time share no byte. An allocator that is asked at run time knows only the past; this plan knows the future.
#
# ```
#   bytes |  +-----------+        +------+        each value is a rectangle: its life along the steps,
#         |  |     b     |        |  e   |        its bytes upward. None may overlap, and the pile
#         |  +------+----+--------+------+        should be low. In general that is NP-hard.
#         |  |  a   |       d            |
#         +--+------+--------------------+--> steps
# ```
#
# A good rule is to place the **largest first**: small values find a gap. (Pisarchyk and Lee 2020.)
#
# ### Exercise `plan_buffers` (12 points)
#
# Points by part: lives 5, the arena's size 4, edges 3. `node.dtype.itemsize` is the bytes of an entry.


# %% exercise="plan_buffers"
def plan_buffers(order, outputs):
    """A dict: for each node of order that has inputs, where its value begins in the arena, in bytes.

    order: a list of nodes, inputs before users, computed one after the other; outputs: a list of some. Neither changes.
    A value takes its entries' bytes, rounded up to a multiple of 64 (none for no entries). It is there from the step
        that makes it to the last step that reads it, *both included*: an operator reads its inputs while it writes.
        One that nobody reads is there in its own step; an output is there to the end. Variables and constants have
        memory elsewhere, and are not in the dict.
    Offsets are ints, multiples of 64, 0 or more. Values that are there in one step share no byte. The arena, up to the
        end of the value that ends last, is no larger than what this gives: place values from the largest to the
        smallest, of equal ones the earlier in order first, each at the lowest offset where it meets none that is placed
        already and alive in one of its steps.
    """
    ### BEGIN SOLUTION
    step, read = {node: n for n, node in enumerate(order)}, {}
    for n, node in enumerate(order):
        read |= dict.fromkeys(node.inputs, n)
    read |= {node: len(order) for node in outputs}
    values = [
        (-(-math.prod(node.shape) * node.dtype.itemsize // 64) * 64, step[node], read.get(node, step[node]), node)
        for node in order
        if node.inputs
    ]
    placed = []  # (offset, end, first step, last step, node)
    for size, first, last, node in sorted(values, key=lambda value: -value[0]):
        offset = 0
        for start, end, begins, ends, _ in sorted(placed):
            if begins <= last and first <= ends and start < offset + size:
                offset = max(offset, end)
        placed.append((offset, offset + size, first, last, node))
    return {node: offset for offset, _, _, _, node in placed}
    ### END SOLUTION


# %% check="plan_buffers"
check("plan_buffers", plan_buffers)

# %% [markdown]
# **Look at it:** your plan of the GPT's forward pass. Below it, what it takes: every value in memory of its own, your
# arena, and the least that any plan could do, the most bytes alive in one step.
#
# *The figure. Rectangles over steps and mebibytes, each a value of the forward pass; wide ones are residual values that
# live long, narrow tall ones attention's scores and the feed-forward layers' insides, which reuse the same bytes layer
# after layer. None overlap.*


# %% experiment="arena"
def alive_bytes(order, outputs):
    """By step, the bytes of results that are made and still needed."""
    last = {node: n for n, node in enumerate(order)}
    for n, node in enumerate(order):
        last |= dict.fromkeys(node.inputs, n)
    last |= dict.fromkeys(outputs, len(order))
    size = {node: math.prod(node.shape) * node.dtype.itemsize for node in order if node.inputs}
    first = {node: n for n, node in enumerate(order)}
    return [sum(b for node, b in size.items() if first[node] <= n <= last[node]) for n in range(len(order))]


forward = topological_order([better_loss])
places = plan_buffers(forward, [better_loss])
ends = {node: n for n, node in enumerate(forward)}
for n, node in enumerate(forward):
    ends |= dict.fromkeys(node.inputs, n)
fig, (ax,) = figure(1, width=8, height=4)
MiB = 1 << 20
for n, (node, offset) in enumerate(sorted(places.items(), key=lambda one: one[0].number)):
    size = math.prod(node.shape) * node.dtype.itemsize
    left, span = forward.index(node), ends[node] - forward.index(node) + 1
    ax.bar(left, size / MiB, span, offset / MiB, align="edge", color=COLOURS[n % 6], edgecolor="white", linewidth=0.6)
ax.set(xlabel="step", ylabel="place in the arena (MiB)")
arena = max(offset + math.prod(node.shape) * node.dtype.itemsize for node, offset in places.items())
own = sum(math.prod(node.shape) * node.dtype.itemsize for node in places)
print(f"memory of its own for each {own / MiB:.2f} MiB, your arena {arena / MiB:.2f} MiB, ", end="")
print(f"most alive at one time {max(alive_bytes(forward, [better_loss])) / MiB:.2f} MiB")
fig

# %% [markdown]
# ## 8. An order for memory
#
# Any order in which inputs come before users is right, and some need far less memory than others: of two branches, the
# one whose inside is large and whose result is small should go first, while nothing else is alive. Trying all orders of
# n nodes takes up to n! of them. But what is alive depends only on *which* nodes are done, not on the way there; there
# are $2^n$ such sets, and the best way to each is found like a shortest path, with the peak so far as its length
# (Dijkstra's algorithm with a maximum in place of a sum), or from the end by a function that remembers each set.
#
# ### Exercise `order_for_memory` (10 points)
#
# Points by part: the least peak 5, valid orders 3, large graphs 2.


# %% exercise="order_for_memory"
def order_for_memory(order, outputs):
    """A list of the nodes of order, all of them, in an order in which inputs come before users and the peak is low.

    order: a list of nodes, inputs before users; some may be needed by nobody. outputs: a list of some. Neither changes.
    The peak is the most bytes that results take in a step (entries times itemsize, not rounded): of nodes with inputs,
        from the step that makes one to the last that reads it, both included; an output's to the end, and one that
        nobody reads is there in its own step. Variables and constants take none, and may stand anywhere before users.
    With 12 nodes with inputs or fewer the peak is the least that any order has. With more it is no higher than that of
        the order given; a case has up to 60.
    """
    ### BEGIN SOLUTION
    work = [node for node in order if node.inputs]
    if len(work) > 12:
        return list(order)
    size = {node: math.prod(node.shape) * node.dtype.itemsize for node in work}
    users = {node: {user for user in work if node in user.inputs} for node in work}

    @functools.cache
    def from_here(done):
        """The least peak of what is left, and the nodes in that order."""
        live = sum(size[node] for node in done if node in outputs or users[node] - done)
        ways = []
        for node in work:
            if node not in done and all(x in done for x in node.inputs if x.inputs):
                peak, rest = from_here(done | {node})
                ways.append((max(peak, live + size[node]), [node, *rest]))
        return min(ways, key=lambda way: way[0], default=(0, []))

    return [node for node in order if not node.inputs] + from_here(frozenset())[1]
    ### END SOLUTION


# %% check="order_for_memory"
check("order_for_memory", order_for_memory)

# %% [markdown]
# **Look at it:** four branches, each a large value of which a small one comes, in the order in which somebody wrote
# them down, layer by layer, and in yours.
#
# *The figure. Bytes alive over steps. Written layer by layer (circles) all four large values are there together; in
# your order (squares) one after the other, and the largest one decides.*


# %% experiment="orders"
x = G.variable("x", (256,))
tall = [G.broadcast_to(x, (rows, 256)) for rows in (400, 900, 600, 800)]
short = [G.sum(one, 0) for one in tall]
total = (short[0] + short[1]) + (short[2] + short[3])
written = topological_order([total])
best_order = order_for_memory(written, [total])
fig, (ax,) = figure(1, width=5.5)
for one, words in ((written, "layer by layer"), (best_order, "ordered for memory")):
    ax.plot([b / MiB for b in alive_bytes(one, [total])], label=words)
ax.set(xlabel="step", ylabel="alive (MiB)", ylim=(0, None))
ax.legend()
print(f"peak {max(alive_bytes(written, [total])) / MiB:.2f} MiB, ", end="")
print(f"in your order {max(alive_bytes(best_order, [total])) / MiB:.2f} MiB")
fig

# %% [markdown]
# ## 9. All together
#
# The training step from part 3, in five stages: as lab 5 made it; without common and dead nodes; with its rules; with
# merged products; and printed as a Python program, one line a node, so that no evaluator decides anything any more.
# Rules that recognize softmax and norms must come before the gradient: afterwards their insides have other users. In a
# model as small as this merging brings little or costs a bit: weights are put side by side in every run, which a
# compiler does once, and slices are operators too. That is why compilers measure before they choose.


# %% experiment="together"
def printed_program(inputs, outputs):
    """The graph as Python text, compiled."""
    order = topological_order([*inputs, *outputs])
    name, lines, known = {node: f"v{n}" for n, node in enumerate(order)}, [], {}
    for n, node in enumerate(order):
        if node.inputs:
            known[f"f{n}"] = node.operator.compute
            lines.append(f"    {name[node]} = f{n}({', '.join(name[x] for x in node.inputs)})")
        elif not node.is_variable:
            known[name[node]] = node.operator.value
    head, end = f"def run({', '.join(name[x] for x in inputs)}):", f"    return [{', '.join(name[x] for x in outputs)}]"
    exec("\n".join([head, *lines, end]), known)
    return known["run"]


def evaluator_time(outputs):
    run = Evaluator(outputs, topological_order(outputs))
    return seconds(lambda: run(gpt_feeds)), len(topological_order(outputs))


weights_in_order = list(gpt_w.values())
[merged_loss] = merge_qkv(topological_order([better_loss]), [better_loss])
stages = {"as written": step, "no common nodes": smaller}
for words, one in (("rules", better_loss), ("merged", merged_loss)):
    whole = [one, *gradient(one, weights_in_order, topological_order([one]), adjoints)]
    stages[words] = eliminate(topological_order(whole), whole)[1]
table = {words: evaluator_time(outputs) for words, outputs in stages.items()}
final, fed = stages["merged"], list(gpt_feeds)
run = printed_program(fed, final)
tensors = [gpt_feeds[node] for node in fed]
table["a program"] = (seconds(lambda: run(*tensors)), len(topological_order(final)))
for words, (took, nodes) in table.items():
    print(f"{words:16} {nodes:5} nodes {1e3 * took:7.2f} ms")
as_written = Evaluator(step, before)(gpt_feeds)
difference = max(float((a - b).abs().max()) for a, b in zip(run(*tensors), as_written, strict=True))
print(f"largest difference of loss and gradients: {difference:.1e}")

# %% [markdown]
# ## What you built
#
# A compiler in eight functions: a tracer that refuses what it cannot do, guards, rewrites to a fixed point, merged
# products, fusion, a memory plan and an order. `mlsys_course.compiler` is the reference, with more rules, each of which
# is tested on drawn graphs, and `compiled`, which makes a program of a traced function.
#
# **What real systems do differently.** `torch.compile` reads Python's bytecode, so that it can break a graph and go on;
# JAX traces as you did. Both have symbols for sizes. Inductor, XLA and TVM generate code for each group, choose its
# tiles by measuring, and fuse reductions and what stands around products too. TASO and e-graphs do not order rules by
# hand: they keep all equal programs at once and search for the cheapest. And on a GPU a whole step is recorded as a
# CUDA graph, so that a thousand small kernels cost one launch.
#
# **Papers.** Frostig, Johnson and Leary 2018, "Compiling machine learning programs via high-level tracing"; Chen et al.
# 2018, "TVM"; Jia et al. 2019, "TASO"; Willsey et al. 2021, "egg"; Ansel et al. 2024, "PyTorch 2"; Pisarchyk and Lee
# 2020, "Efficient memory management for deep neural net inference"; Looks et al. 2017, "Deep learning with dynamic
# computation graphs"; Williams, Waterman and Patterson 2009, "Roofline".
