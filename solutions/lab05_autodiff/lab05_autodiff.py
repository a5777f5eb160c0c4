# %% [markdown]
# # Lab 5: automatic differentiation that builds graphs
#
# A model is a formula; training it needs the formula's derivatives. You will write the engine that gets them: from the
# graph of a computation it builds a second graph, that of the gradient, by one rule for each operator and one algorithm
# for all of them. `tf.gradients`, PyTorch's `backward` and JAX's `grad` are this algorithm. At the end a small GPT
# trains on your engine, and its losses are PyTorch's, step by step.
#
# **Time:** seven hours; with the extensions two more. **Points:** 100; extensions are a bonus. **Before this:** lab 0
# (backward by hand), lab 3 (the transformer's parts).
#
# Autograd is what you build here, so it may not be called: no `torch.autograd`, no `backward`, no `requires_grad_`, no
# `torch.func`. Comparing with it in a cell of your own is a good idea.

# %%
import math
import time

import torch
import torch.nn.functional as F

import mlsys_course.substrate.graph as G
from mlsys_course.desk.check import check
from mlsys_course.substrate.graph.draw import draw
from mlsys_course.substrate.plot import COLOURS, figure

# %% [markdown]
# ## 1. A computation before any number is known
#
# `mlsys_course.substrate.graph` writes computations down. `G.variable(name, shape, dtype)` is a value to be fed later;
# arithmetic and functions such as `G.exp` make new **nodes** from nodes, and compute nothing.
#
# A node knows its `inputs`, the nodes that it is made from (a tuple, empty for variables and constants); its
# `operator`, which has a `name`, `compute(*tensors)`, and fields of its own, such as `exponent`; its `shape` and
# `dtype`, so that a product that does not fit is an error where you write it; and whether it `is_variable`, which is
# to be fed.
#
# The lecture's example is $y = \ln x_1 + x_1 x_2 - \sin x_2$.
#
# *The figure. Seven boxes from left to right: the variables x1 and x2; log of x1, their product, and sin of x2; an
# addition of the first two; a subtraction. Arrows show which value goes where; x1 and x2 each have two users.*

# %% experiment="picture"
x1, x2 = G.variable("x1", dtype=torch.float64), G.variable("x2", dtype=torch.float64)
y = G.log(x1) + x1 * x2 - G.sin(x2)
print(y, "made at", y.made_where)
try:
    G.variable("h", (4, 8)) @ G.variable("w", (4, 8))
except ValueError as problem:
    print(problem)
draw([y], title="y = ln(x1) + x1 x2 - sin(x2)")

# %% [markdown]
# ## 2. An order
#
# Whoever walks a graph needs an order in which every node comes after its inputs. The obvious way is a recursion that
# visits a node's inputs before the node; Python ends it after a thousand calls, and the training step of a deep
# model has more nodes than that in a row.
#
# ### Exercise `topological_order` (8 points)
#
# Points by part: the order 5, depth 3.


# %% exercise="topological_order"
def topological_order(outputs):
    """Every node that outputs need, once, in an order in which inputs come before what uses them.

    outputs: a list of nodes, which may need each other or repeat; they are part of the result, once each. The list
        stays as it is.
    Returns a list, no other kind of collection. Nodes that outputs do not need are not in it, constants that they need
        are. Two variables may have one name, and two nodes one operator and the same inputs: they are two all the same.
    A chain of 100,000 nodes must work, and each node must be visited once: a graph of n nodes may have 2 ** n paths.
    """
    ### BEGIN SOLUTION
    order, known, stack = [], set(), [(node, False) for node in reversed(outputs)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif node not in known:
            known.add(node)
            stack += [(node, True), *((x, False) for x in reversed(node.inputs))]
    return order
    ### END SOLUTION


# %% check="topological_order"
check("topological_order", topological_order)

# %% [markdown]
# Our nodes carry a `number` that counts up as they are made, inputs before users, so sorting what is needed by number
# is a shortcut that you may take; PyTorch's engine does. Orders that are not by number are as right, and whoever is
# handed an order below must take any in which inputs come before users.
#
# ## 3. Numbers
#
# An **evaluator** computes a graph, again and again, for other feeds: this is what "define, then run" buys. The plan,
# an order and when each value is needed last, is made once. In the lecture's example nobody reads ln x1 after the
# addition, so it is let go there, not at the end: a forward pass alone then holds few layers at a time, and a training
# step what backward still needs. Graphs are thousands of nodes deep, too deep for a recursion here as well.
#
# ### Exercise `Evaluator` (15 points)
#
# Points by part: values 4, running again 4, each node once 2, memory 3, feeds 2. Memory is judged by counting how many
# results are alive whenever a node is computed: on a chain of n nodes it must not grow with n.


# %% exercise="Evaluator"
class Evaluator:
    """Computes the outputs of a graph from feeds, as often as asked."""

    def __init__(self, outputs, order):
        """outputs: a list of nodes; some may be the same, some variables or constants.

        order: all nodes that they need, once each, in any order in which inputs come before users, by number or not.
        Neither list is changed. Several evaluators, of one graph or of several, may be at work in turn.
        """
        ### BEGIN SOLUTION
        self.outputs, self.order = list(outputs), list(order)
        last = {x: node for node in self.order for x in node.inputs if x not in self.outputs}
        self.ends = {node: [] for node in self.order}
        for x, node in last.items():
            self.ends[node].append(x)
        ### END SOLUTION

    def __call__(self, feeds):
        """The values of the outputs, a list of tensors in their order.

        feeds: a dict from variable to tensor, of variables only; those that are not among the nodes play no part.
            Raises ValueError (FeedError of your own is fine, if it is one) when a variable among the nodes, an output
            that nobody uses too, has no feed, or one of another shape or dtype than its own. The dict stays as it is.
        In one call each node with inputs is computed once, by node.operator.compute(*values of its inputs); a constant
        by node.operator.compute(). A value that nobody needs any more is let go within the call: no container of yours
        may still hold it then. The result depends on the numbers in the feeds of this call only: what happened in
        earlier calls, or to tensors fed earlier, plays no part; nor does a call that raised, for a bad feed or in an
        operator. Results of earlier calls stay as they are.
        """
        ### BEGIN SOLUTION
        values = {}
        for node in self.order:
            if node.is_variable:
                fed = feeds.get(node)
                if fed is None or tuple(fed.shape) != node.shape or fed.dtype != node.dtype:
                    raise ValueError(
                        f"{node.label} takes {node.dtype} {node.shape}; {'no feed' if fed is None else fed}"
                    )
                values[node] = fed
            else:
                values[node] = node.operator.compute(*(values[x] for x in node.inputs))
                for x in self.ends[node]:
                    del values[x]
        return [values[node] for node in self.outputs]
        ### END SOLUTION


# %% check="Evaluator"
check("Evaluator", Evaluator)

# %% [markdown]
# **Look at it:** the lecture's forward trace at $(2, 5)$, which ends in 11.652.


# %% experiment="trace"
def run(outputs, feeds):
    """Outputs once, by your order and your evaluator."""
    return Evaluator(outputs, topological_order(outputs))(feeds)


def number(value):
    return torch.tensor(float(value), dtype=torch.float64)


nodes = topological_order([y])
names = {node: f"v{n}" for n, node in enumerate(nodes, 1)}
for node, found in zip(nodes, run(nodes, {x1: number(2), x2: number(5)}), strict=True):
    inside = [names[x] for x in node.inputs] or [node.label]
    print(f"{names[node]} = {node.operator.name}({', '.join(inside)}) = {found:.3f}")

# %% [markdown]
# ## 4. One rule for each operator
#
# Let $y$ be the output and $\bar v = \partial y / \partial v$ the **adjoint** of a node $v$. When $v = f(a, b)$ and
# $\bar v$ is known, $v$ passes a part to each input:
#
# $$ \bar a_{\to v} = \bar v\, \frac{\partial f}{\partial a}, \qquad \bar b_{\to v} = \bar v\, \frac{\partial
# f}{\partial b} $$
#
# A **rule** says so in nodes. It is a function of the node and of its adjoint, itself a node, and returns one adjoint
# for each input, or None where nothing flows. Three rules are given in the cell below; the slope of exp is its own
# value, which the node stands for.
#
# Everything in a rule is a node again. That is why gradients of gradients need no further work. Here and in all rules
# below, nodes may be of any floating dtype, which the adjoints have too, one node may stand at two places, as in x * x,
# and numbers may be 0 or negative wherever the operator has a slope there.
#
# ### Exercise `elementwise_gradients` (12 points)
#
# Points by part: arithmetic 5 (`negate`, `subtract`, `divide`, `shift`, `scale`), functions 5 (`log`, `sin`, `cos`,
# `tanh`, `sqrt`, `power`), `relu` 2; the rules that are given count with their kind. `shift` is $x + c$ and `scale` is
# $c\,x$ for a number c, in `node.operator.factor`; `power` is $x^c$ with c in `node.operator.exponent`. The slope of
# `relu` at 0 is taken as 0. `G.where(x > 0, a, b)` chooses entry by entry, and one of a and b may be a number.


# %% exercise="elementwise_gradients"
def elementwise_gradients(node, grad):
    """The adjoints that node passes on, a list with a node for each input, given its own adjoint grad.

    node: of one of the operators named above or given below, by node.operator.name; its inputs have its own shape.
    grad: a node of node's shape and dtype.
    """
    x, y = node.inputs[0], node.inputs[-1]  # of one input y is x
    name = node.operator.name
    given = {
        "add": lambda: [grad, grad],
        "multiply": lambda: [grad * y, grad * x],
        "exp": lambda: [grad * node],
    }
    if name in given:
        return given[name]()
    ### BEGIN SOLUTION
    table = {
        "negate": lambda: [-grad],
        "subtract": lambda: [grad, -1 * grad],
        "divide": lambda: [grad / y, -(grad * x) / (y * y)],
        "shift": lambda: [1.0 * grad],
        "scale": lambda: [node.operator.factor * grad],
        "log": lambda: [grad * x**-1],
        "sin": lambda: [G.cos(x) * grad],
        "cos": lambda: [-(G.sin(x) * grad)],
        "tanh": lambda: [grad - grad * node * node],
        "sqrt": lambda: [0.5 * grad / node],
        "power": lambda: [node.operator.exponent * grad * x ** (node.operator.exponent - 1)],
        "relu": lambda: [G.where(x > 0, grad, 0.0)],
    }
    return table[name]()
    ### END SOLUTION


# %% check="elementwise_gradients"
check("elementwise_gradients", elementwise_gradients)

# %% [markdown]
# ## 5. Broadcasting's way back
#
# A bias of shape (4,) added to (3, 4) is used three times, once in each row. A value with several users gets the *sum*
# of what they send back, so its adjoint is summed over the rows:
#
# ```
#   b  (4,)  --broadcast-->  (3, 4)          grad (3, 4)  --sum over axis 0-->  (4,)
#   s  (3, 1)  ----------->  (3, 4)          grad (3, 4)  --sum over axis 1, kept-->  (3, 1)
# ```
#
# Shapes line up at the last axis. Axes that broadcasting put in front disappear; axes of size one that it stretched
# have size one again.
#
# ### Exercise `sum_to` (8 points)
#
# Points by part: values 6, edges 2. `G.sum(x, axes, keepdims=False)` takes a list of axes, and along none is x itself;
# `G.reshape(x, shape)`.


# %% exercise="sum_to"
def sum_to(grad, shape):
    """A node of shape, a tuple that broadcasts to grad.shape, possibly empty, in grad's dtype: sums over all copies."""
    ### BEGIN SOLUTION
    front = len(grad.shape) - len(shape)
    summed = G.sum(grad, list(range(front)))
    for axis, size in enumerate(shape):
        if size == 1:
            summed = G.sum(summed, axis, keepdims=True)
    return summed
    ### END SOLUTION


# %% check="sum_to"
check("sum_to", sum_to)

# %% [markdown]
# ## 6. Linear operators: the transposed map
#
# For $v = M a$, with any matrix $M$, the adjoint is $\bar a = M^\top \bar v$. Sums, reshapes, slices are such maps,
# and nobody writes their matrices: what matters is which entries go where, and then the same way back.
#
# | operator | fields of `node.operator` | |
# |---|---|---|
# | `sum`, `mean` | `axes`, a tuple, all counted from 0; `keepdims` | the way back repeats: `G.broadcast_to(x, shape)` |
# | `reshape`, `broadcast_to` | `shape` | of `broadcast_to` pass grad as it is: `sum_to` comes after every rule |
# | `transpose` | `order`: axis i of the result is axis `order[i]` of x | `G.transpose(x, order)` |
# | `slice` | `bounds`: (start, stop, step) of each axis | `G.pad(x, shape, bounds)` puts x there, and zeros around |
# | `concatenate` | `axis` | nodes are sliced like tensors: `grad[:, 2:5]` |
# | `matmul` | | `a @ b`; `G.transpose(x)` exchanges the last two axes |
#
# The product $Y = AB$ is linear in each side. Write down the shapes, $(n,k) = (n,m)(m,k)$, and only one rule fits:
# $\bar A = \bar Y B^\top$ with $(n,k)(k,m)$, and $\bar B = A^\top \bar Y$ with $(m,n)(n,k)$.
#
# Axes before the last two are a batch of products, and broadcast. The adjoints then have the batch axes of the result;
# `sum_to` comes after.
#
# ### Exercise `linear_gradients` (16 points)
#
# Points by part: reductions 4, shapes 5, matrices 7.


# %% exercise="linear_gradients"
def linear_gradients(node, grad):
    """The adjoints that node passes on, a list with a node for each input, given its own adjoint grad.

    node: of one of the operators in the table, by node.operator.name. concatenate has two inputs or more, matmul two.
        An axis of what these two take may be empty.
    grad: a node of node's shape and dtype.
    Each adjoint has its input's shape, or for broadcast_to and matmul one that the input broadcasts to.
    """
    ### BEGIN SOLUTION
    x, operator = node.inputs[0], node.operator
    match operator.name:
        case "sum" | "mean":
            shape = [1 if axis in operator.axes else size for axis, size in enumerate(x.shape)]
            spread = G.broadcast_to(G.reshape(grad, shape), x.shape)
            count = math.prod(x.shape[axis] for axis in operator.axes) if operator.name == "mean" else 1
            return [spread / count]
        case "reshape":
            return [G.reshape(grad, list(x.shape))]
        case "broadcast_to":
            return [grad]
        case "transpose":
            back = sorted(range(len(operator.order)), key=lambda axis: operator.order[axis])
            return [G.transpose(grad, back)]
        case "slice":
            return [G.pad(grad, x.shape, operator.bounds)]
        case "concatenate":
            found, at = [], 0
            for piece in node.inputs:
                size = piece.shape[operator.axis]
                found.append(grad[(slice(None),) * operator.axis + (slice(at, at + size),)])
                at += size
            return found
        case "matmul":
            b = node.inputs[1]
            return [grad @ G.transpose(b), G.transpose(x) @ grad]
    ### END SOLUTION


# %% check="linear_gradients"
check("linear_gradients", linear_gradients)

# %% [markdown]
# All rules together, each followed by `sum_to`. `cross_entropy_gradient` comes in part 8, the others are extensions.


# %%
def rule(node, grad):
    """What node passes to each input, in the input's own shape."""
    name = node.operator.name
    if name in ("compare", "cast", "one_hot"):  # whole numbers, true and false: nothing flows
        return [None] * len(node.inputs)
    if name in ("sum", "mean", "reshape", "broadcast_to", "transpose", "slice", "concatenate", "matmul"):
        partials = linear_gradients(node, grad)
    elif name == "cross_entropy":
        partials = cross_entropy_gradient(node, grad)
    elif name in ("softmax", "log_softmax", "layer_norm", "rms_norm"):
        partials = normalization_gradients(node, grad)
    elif name in ("embedding", "where", "max"):
        partials = selection_gradients(node, grad)
    else:
        partials = elementwise_gradients(node, grad)
    return [p if p is None else sum_to(p, x.shape) for x, p in zip(node.inputs, partials, strict=True)]


# %% [markdown]
# ## 7. The algorithm
#
# The lecture's `gradient`, in its words: keep for each node the list of partial adjoints that its users have sent; take
# the nodes in reverse topological order, so that all users of a node are done when its turn comes; sum its list, and
# pass parts on to its inputs.
#
# $$ \bar v_i = \sum_{j\, \in\, \mathrm{next}(i)} \bar v_{i \to j}, \qquad
#    \bar v_{i \to j} = \bar v_j\, \frac{\partial v_j}{\partial v_i} $$
#
# ```
#   f = (exp(v1) + 1) exp(v1)         node_to_grad
#                                     i = 4:  4: [1]   3: [v2 (from 4)]   2: [v3 (from 4)]
#    v1 -> v2 = exp ---> v4 = v3*v2   i = 3:                              2: [v3 (from 4), v2 (from 3)]
#             \-> v3 = +1 --/         i = 2:  sum the two, multiply with exp(v1)     1: [...]
# ```
#
# ### Exercise `gradient` (15 points)
#
# Points by part: chains 4, nodes with several users 6, edges 2, cost 3. The cost is how often you ask `rule`: at most
# once about each node.


# %% exercise="gradient"
def gradient(output, inputs, order, rule):
    """For each of inputs a node of the derivative of output, in its shape and dtype.

    output: a node; if it has several entries, the gradient is that of their sum. Its own adjoint is 1 everywhere.
    inputs: a list of nodes: variables, or nodes on the way, or output itself; one may stand there twice. Where output
        does not depend on one, or nothing flows to it, its derivative is zeros, of its own shape and dtype.
        `G.fill(x, number)` is a constant of x's shape and dtype.
    order: the nodes that output needs, in any order in which inputs come before users; they may be thousands in a row,
        too many for a recursion. Neither list is changed. Called again, for the same nodes too, it finds the same.
    rule: rule(node, grad) is a list: for each of node.inputs an adjoint of its shape, or None where nothing flows;
        asked only about nodes with inputs, and at most once about each. A node may stand twice among node.inputs.
    """
    ### BEGIN SOLUTION
    received, adjoints = {node: [] for node in order}, {}
    received[output].append(G.fill(output, 1.0))
    for node in reversed(order):
        if received[node]:
            adjoints[node], *rest = received[node]
            for part in rest:
                adjoints[node] = adjoints[node] + part
            for x, part in zip(node.inputs, rule(node, adjoints[node]) if node.inputs else [], strict=True):
                if part is not None:
                    received[x].append(part)
    return [adjoints[x] if x in adjoints else G.fill(x, 0.0) for x in inputs]
    ### END SOLUTION


# %% check="gradient"
check("gradient", gradient)

# %% [markdown]
# **Look at it:** the lecture's adjoints, $\bar x_1 = 5.5$ and $\bar x_2 = 1.716$; then the backward graph of its case
# study as a graph of its own, and derivatives of derivatives from the same function.
#
# *The figure. The forward graph of (exp(v1) + 1) exp(v1), four boxes with solid edges, and with dashed orange ones the
# nodes that `gradient` added (a few more or fewer, as you wrote your rules): the constant 1, its products with the
# forward values exp and exp + 1, one addition where both users of exp report, and a last product with exp. Backward
# nodes read forward nodes: that is why training keeps activations.*

# %% experiment="backward"


def differentiate(output, inputs):
    """Your gradient, with your order and your rules."""
    return gradient(output, inputs, topological_order([output]), rule)


print("adjoints of the lecture's example:", run(differentiate(y, [x1, x2]), {x1: number(2), x2: number(5)}))
v1 = G.variable("v1", dtype=torch.float64)
v2 = G.exp(v1)
study = (v2 + 1) * v2
orders = [study]
for _ in range(3):
    orders += differentiate(orders[-1], [v1])
found = [float(value) for value in run(orders, {v1: number(0)})]
print("f, f', f'', f''' of e^2v + e^v at 0:", found, "by hand: 2, 3, 5, 9")
backward = [node for node in topological_order([orders[1]]) if node not in topological_order([study])]
draw([study, orders[1]], marked=backward, title="(exp(v1) + 1) exp(v1) and its derivative")

# %% [markdown]
# ## 8. The lecture's homework
#
# A classifier's loss is $L = -\sum_i t_i \log y_i$ with $y = \mathrm{softmax}(x)$. The target $t$ is one-hot, and the
# loss of a batch is the mean over its $N$ targets. `G.cross_entropy(logits, targets)` is one operator, since its
# derivative is simpler than that of its pieces: take the logarithm first, $L = \log \sum_d e^{x_d} - x_t$, and derive
# by $x_i$.
#
# ### Exercise `cross_entropy_gradient` (8 points)
#
# Points by part: values 6, large logits 2. You may use `G.softmax(x)`, which is along the last axis and stable, and
# `G.one_hot(ids, classes, dtype)`, which appends an axis.


# %% exercise="cross_entropy_gradient"
def cross_entropy_gradient(node, grad):
    """The adjoints that node = G.cross_entropy(logits, targets) passes on: [a node of logits' shape, None].

    logits: (..., V), with any number of axes before the last. targets: (...), int64; the loss is the mean over all of
        them. grad: a node without axes.
    """
    ### BEGIN SOLUTION
    logits, targets = node.inputs
    each = grad / math.prod(targets.shape)
    hit = G.one_hot(targets, logits.shape[-1], logits.dtype)
    return [each * G.softmax(logits) - each * hit, None]
    ### END SOLUTION


# %% check="cross_entropy_gradient"
check("cross_entropy_gradient", cross_entropy_gradient)

# %% [markdown]
# ## 9. What is still missing: the update
#
# The master equation, $\theta^{(t+1)} = f(\theta^{(t)}, \nabla L(\theta^{(t)}, D^{(t)}))$, has three parts. Forward and
# backward are graphs now, so let the update be one too: whoever optimizes the graph sees the whole step. Stochastic
# gradient descent is a line, `weight - lr * grad`, and momentum two: `velocity = momentum * velocity + grad`, and
# `weight - lr * velocity`.
#
# AdamW keeps two running means and corrects them for having started at zero. At step $t = 1, 2, \dots$
#
# $$ m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
#    \hat m = \frac{m}{1 - \beta_1^t}, \qquad \hat v = \frac{v}{1 - \beta_2^t} $$
#
# $$ w \leftarrow (1 - \eta\lambda)\, w - \eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon} $$
#
# **Convention.** $\varepsilon$ stands outside the root, as Kingma and Ba have it; one lecture puts it inside. The decay
# $\lambda$ acts on the weight before the step and does not pass through the moments (Loshchilov and Hutter).
#
# ### Exercise `adamw_step` (10 points)
#
# Points by part: moments 3, update 4, decay 3.


# %% exercise="adamw_step"
def adamw_step(weight, grad, m, v, t, lr, beta1, beta2, epsilon, weight_decay):
    """Nodes of the next weight and moments: [weight, m, v].

    weight, grad, m, v: nodes of one shape, () too, and dtype. t: a node without axes, of that dtype: 1.0 at the first
        step. It is called once for each weight, with settings that may differ, and entries of grad may be 0.
    lr, beta1, beta2, epsilon, weight_decay: numbers; a beta may be 0. A number to the power of a node is
        G.exp(t * math.log(number)), for a positive number. The m and v returned are not the corrected ones.
    """
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    corrected_m = m / (1 - G.exp(t * math.log(beta1))) if beta1 else m
    corrected_v = v / (1 - G.exp(t * math.log(beta2))) if beta2 else v
    step = corrected_m / (G.sqrt(corrected_v) + epsilon)
    return [(1 - lr * weight_decay) * weight - lr * step, m, v]
    ### END SOLUTION


# %% check="adamw_step"
check("adamw_step", adamw_step)

# %% [markdown]
# ## 10. Look at it: a GPT on your engine
#
# `plain_gpt` (in `mlsys_course/substrate/graph/models.py`) is a GPT of nothing but what your rules cover. Its forward
# pass, its gradients and AdamW are **one graph**, built once and run for every batch. Beside it the same model trains
# in PyTorch, from the same weights on the same batches, with autograd and `torch.optim.AdamW`. The text is Python's own
# manual.
#
# *The figure. Left: the loss over 60 steps. Your engine's line (blue circles) and PyTorch's (orange, dashed) lie on
# each other, falling with the noise of small batches from 4.8, a guess, to below 3. Right: the difference between the
# two, on a logarithmic axis: about one in a million, float32's rounding; missing points are exact zeros.*

# %% experiment="gpt"
from pydoc_data.topics import topics

from mlsys_course.substrate.graph.models import plain_gpt, plain_gpt_weights

text = "\n".join(topics[name] for name in sorted(topics))
alphabet = {character: code for code, character in enumerate(sorted(set(text)))}
codes = torch.tensor([alphabet[character] for character in text])
B, T, C, H, V = 8, 32, 48, 4, len(alphabet)
device = "cuda" if torch.cuda.is_available() else "cpu"

start = plain_gpt_weights(V, T, C, n_layers=2)


def batch(step):
    at = torch.randint(len(codes) - T - 1, (B,), generator=torch.Generator().manual_seed(step))
    both = codes[at[:, None] + torch.arange(T + 1)].to(device)
    return both[:, :-1], both[:, 1:]


settings = {"lr": 3e-3, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.01}
w, m, v = ({name: G.variable(kind + name, x.shape) for name, x in start.items()} for kind in ("", "m.", "v."))
ids, targets = (G.variable(name, (B, T), torch.int64) for name in ("ids", "targets"))
t = G.variable("t")
seen = torch.ones(T, T, device=device).tril().log().clamp(min=-1e4)  # 0 where a token may look, else -10,000
loss = G.cross_entropy(plain_gpt(G.one_hot(ids, V), w, H, G, G.transpose, G.constant(seen)), targets)
grads = dict(zip(w, differentiate(loss, list(w.values())), strict=True))
after = [node for name in w for node in adamw_step(w[name], grads[name], m[name], v[name], t, **settings)]
training = [loss, *after, t + 1]
step = Evaluator(training, topological_order(training))
print(f"{len(topological_order([loss])):,} nodes forward, {len(topological_order(training)):,} in the whole step")

state = {node: start[name].to(device) * (node is w[name]) for name in w for node in (w[name], m[name], v[name])}
state[t] = torch.ones((), device=device)
parameters = {name: torch.nn.Parameter(value.clone().to(device)) for name, value in start.items()}
optimizer = torch.optim.AdamW(parameters.values(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.01)
losses = []
for number_of_step in range(60):
    x, wanted = batch(number_of_step)
    value, *values = step({**state, ids: x, targets: wanted})
    state = dict(zip(state, values, strict=True))
    optimizer.zero_grad()
    logits = plain_gpt(F.one_hot(x, V).float(), parameters, H, torch, torch.permute, seen)
    right = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    right.backward()
    optimizer.step()
    losses.append([float(value), float(right.detach())])

fig, (left, right_axes) = figure(2)
ours, theirs = torch.tensor(losses).T
left.plot(ours, markevery=6, label="your engine")
left.plot(theirs, "--", marker="", color=COLOURS[1], label="PyTorch")
left.set(xlabel="step", ylabel="loss")
left.legend()
right_axes.semilogy((ours - theirs).abs(), linestyle="", color=COLOURS[2], marker="^", markersize=4)
right_axes.set(xlabel="step", ylabel="difference of the losses", ylim=(1e-8, 1))
fig

# %% [markdown]
# ## 11. Look at it: formulas swell, graphs do not
#
# Calculus has rules too: $(fg)' = f'g + fg'$. Applied to a *formula* they write $f$ and $g$ out again in each term.
# Below, $x_{k+1} = 4 x_k (1 - x_k)$ is nested deeper and deeper, and differentiated three ways: by calculus on the
# formula (counting symbols), and by your `gradient` (counting nodes). The second figure asks what building costs.
#
# *The figure. Left: size over depth, on a logarithmic axis. The symbols of the formula's derivative (orange squares)
# rise in nearly a straight line, that is exponentially, to above twenty thousand at depth 9; the formula itself (blue
# circles) rises too; the nodes of your gradient's graph (green triangles) stay below a hundred. Right: seconds to
# build the gradient of a chain, over its nodes; the points lie near a straight line through zero.*

# %% experiment="swell"
from mlsys_course.substrate.graph.calculus import differentiate as by_calculus
from mlsys_course.substrate.graph.calculus import written_size

x = G.variable("x", dtype=torch.float64)
nested, rows = x, []
for _ in range(9):
    nested = 4 * nested * (1 - nested)
    derivative = by_calculus(nested, x)
    rows.append((written_size(nested), written_size(derivative), len(topological_order(differentiate(nested, [x])))))
a, b = run([derivative, *differentiate(nested, [x])], {x: number(0.3)})
print(f"depth 9: {rows[-1][1]:,} symbols, {rows[-1][2]} nodes; both say {a:.6f} and {b:.6f}")

lengths, seconds = [1000, 2000, 4000, 8000], []
for length in lengths:
    z, taken = x, []
    for _ in range(length // 2):
        z = G.sin(z) * x
    for _ in range(3):
        begun = time.process_time()
        differentiate(z, [x])
        taken.append(time.process_time() - begun)
    seconds.append(min(taken))

fig, (left, right_axes) = figure(2)
left.plot(range(1, 10), rows, label=["symbols of the formula", "symbols of its derivative", "nodes of your gradient"])
left.set(xlabel="depth of nesting", ylabel="size", yscale="log")
left.legend()
right_axes.plot(lengths, seconds, color=COLOURS[2], marker="^")
right_axes.set(xlabel="nodes of the forward graph", ylabel="seconds to build", xlim=(0, None), ylim=(0, None))
fig

# %% [markdown]
# ### Question `why_graphs` (6 points)
#
# Use the figure. Why does the formula of the derivative swell where the graph does not, though both follow the same
# rules? Why is the cost of building the gradient linear in the nodes? And what does a graph that is built before it
# runs cost you, where a program that just runs (PyTorch's eager mode) does not?

# %% [markdown] question="why_graphs"
# ### BEGIN SOLUTION
# A formula is a tree: a part that is used twice is written twice, and so is its derivative, at each level of nesting,
# so that depth 9 has more than twenty thousand symbols; the graph has one node for each part however often it is
# used, and `gradient` sums what its users send, so that depth 9 has about a hundred nodes. Each forward node is
# asked for its rule once, which adds a few nodes, and each partial adjoint is added once: so many steps a node, so
# building is linear, as the straight line on the right shows. What it costs: shapes and the flow of the program must be
# fixed beforehand, so other shapes or a branch on a value need another graph; and errors show when the graph runs, away
# from the line that made the node, unless nodes remember it, as ours do.
# ### END SOLUTION

# %% [markdown]
# ## 12. Forward or backward?
#
# Reverse mode starts at one output and finds its derivative by *all* inputs. **Forward mode** starts at one input, or
# one direction, and carries a tangent along: it finds the derivative of *all* outputs. For the whole Jacobian of $f:
# \mathbb{R}^n \to \mathbb{R}^m$ either is repeated.
#
# With `gradient` alone forward mode comes for free: $u \mapsto J^\top u$ is linear in $u$, and the gradient of
# $(J^\top u) \cdot d$ by $u$ is $J d$. (An extension below does it directly.)
#
# *The figure. Left: n inputs, one output. The time for the whole Jacobian grows with n in forward mode (orange squares)
# and stays flat in reverse mode (blue circles). Right: one input, m outputs; the two change places.*

# %% experiment="modes"


def reverse_jacobian(f, x, seeds):
    """A pass for each output."""
    return [differentiate(G.sum(f * seed), [x])[0] for seed in seeds]


def forward_jacobian(f, x, directions):
    """A pass for each input: the transposed map's transposed map."""
    u = G.variable("u", f.shape, f.dtype)
    (pulled,) = differentiate(G.sum(f * u), [x])
    return [differentiate(G.sum(pulled * direction), [u])[0] for direction in directions]


def timed(jacobian, n, m):
    """Milliseconds to run one mode's whole Jacobian of tanh(tanh(x A) B)."""
    x, A, B = (G.variable(name, shape) for name, shape in (("x", (1, n)), ("A", (n, 256)), ("B", (256, m))))
    f = G.tanh(G.tanh(x @ A) @ B)
    outputs = jacobian(f, x, [G.constant(row[None]) for row in torch.eye(m if jacobian is reverse_jacobian else n)])
    needed, times = topological_order(outputs), []
    feeds = {node: torch.full(node.shape, 0.01) for node in needed if node.is_variable}
    evaluator = Evaluator(outputs, needed)
    for _ in range(5):
        begun = time.perf_counter()
        evaluator(feeds)
        times.append(1e3 * (time.perf_counter() - begun))
    return min(times)


counts = [1, 2, 4, 8, 16, 32, 64]
threads = torch.get_num_threads()
torch.set_num_threads(1)  # the products are so small that a second thread would mostly wait
fig, panels = figure(2)
for axes, label in zip(panels, ("inputs, one output", "outputs, one input"), strict=True):
    for jacobian, name in ((reverse_jacobian, "reverse mode"), (forward_jacobian, "forward mode")):
        sizes = [(k, 1) if axes is panels[0] else (1, k) for k in counts]
        axes.plot(counts, [timed(jacobian, n, m) for n, m in sizes], label=name)
    axes.set(xlabel=label, ylabel="milliseconds for the Jacobian", ylim=(0, None))
    axes.legend()
torch.set_num_threads(threads)
fig

# %% [markdown]
# **A question on it** (2 points). A simulator has {{ n }} inputs and {{ m }} outputs. What gets its whole Jacobian with
# the fewest passes?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="mode_choice"
# Assign the letter of your answer, such as "a", to mode_choice.
### BEGIN SOLUTION
mode_choice = "{{ mode_answer }}"
### END SOLUTION

# %% check="mode_choice"
check("mode_choice", mode_choice)

# %% [markdown]
# ## Extensions
#
# ### Extension `check_gradient` (8 bonus points)
#
# How do you know that a rule is right? Compare with differences: the derivative of $f$ by entry $x_i$ is nearly
# $\big(f(x + h e_i) - f(x - h e_i)\big) / 2h$. The error of these *central* differences shrinks with $h^2$, until
# rounding takes over; in float64 the best h is near the cube root of $10^{-16}$. Points by part: differences 3,
# verdict 4, device 1.


# %% exercise="check_gradient"
def check_gradient(f, x, claimed):
    """(numerical, agrees): the gradient of f at x by central differences, and whether claimed agrees with it.

    f: from a float64 tensor of x's shape to a tensor without axes; it does not change its argument.
    x: a contiguous float64 tensor of any shape with entries, () too. The step for entry x_i is 6e-6 * max(1, |x_i|).
    numerical: a float64 tensor of x's shape, on its device. agrees: a bool, no tensor, True exactly if claimed has x's
        shape and no entry is off by more than 1e-5 times the largest absolute entry of numerical. NaN agrees with
        nothing.
    """
    ### BEGIN SOLUTION
    numerical = torch.empty_like(x)
    for i, size in enumerate(x.abs().flatten().clamp(min=1.0).tolist()):
        h = torch.zeros_like(x)
        h.view(-1)[i] = 6e-6 * size
        numerical.view(-1)[i] = (f(x + h) - f(x - h)) / (2 * 6e-6 * size)
    same = claimed.shape == x.shape and (claimed - numerical).abs().max() <= 1e-5 * numerical.abs().max()
    return numerical, bool(same)
    ### END SOLUTION


# %% check="check_gradient"
check("check_gradient", check_gradient)

# %% [markdown]
# ### Extension `normalization_gradients` (10 bonus points)
#
# Every entry of a softmax depends on every logit: its Jacobian is $\mathrm{diag}(y) - y y^\top$. But no rule builds a
# Jacobian; it multiplies with one, $y \odot (\bar y - \sum \bar y \odot y)$. The same goes for norms, whose mean and
# variance depend on x too. With $u = (x - \mu)/\sigma$ and $\bar u = \bar v \odot \mathrm{scale}$,
#
# $$ \bar x = \tfrac{1}{\sigma} \left( \bar u - \mathrm{mean}(\bar u) - u \odot \mathrm{mean}(\bar u \odot u) \right),
#    \qquad \sigma = \sqrt{\mathrm{mean}((x - \mu)^2) + \varepsilon} $$
#
# What becomes of it without the mean, in an RMS norm? Points by part: softmax 4, norms 6.


# %% exercise="normalization_gradients"
def normalization_gradients(node, grad):
    """The adjoints that node passes on, a list with a node for each input; sum_to comes after, as for every rule.

    softmax, log_softmax: one input, along node.operator.axis. Single logits may be -inf: their share is 0. Others may
        be in the thousands, and rows far apart.
    layer_norm: inputs x (..., C), scale (C,), shift (C,); rms_norm: x and scale. Over the last axis, with
        node.operator.epsilon inside the root; rms_norm is x / sqrt(mean(x ** 2) + epsilon) * scale. Entries of scale
        may be 0, and the mean of x far from 0.
    """
    ### BEGIN SOLUTION
    x, *others = node.inputs
    match node.operator.name:
        case "softmax":
            along = node.operator.axis
            return [node * (grad - G.sum(node * grad, along, keepdims=True))]
        case "log_softmax":
            along = node.operator.axis
            return [grad - G.softmax(x, along) * G.sum(grad, along, keepdims=True)]
        case "layer_norm" | "rms_norm" as name:
            scale = others[0]
            away = x - G.mean(x, -1, keepdims=True) if name == "layer_norm" else x
            sigma = G.sqrt(G.mean(away * away, -1, keepdims=True) + node.operator.epsilon)
            unit, arrived = away / sigma, scale * grad
            rest = arrived - unit * G.mean(unit * arrived, -1, keepdims=True)
            if name == "layer_norm":
                rest = rest - G.mean(arrived, -1, keepdims=True)
            return [rest / sigma, unit * grad] + [grad] * (name == "layer_norm")
    ### END SOLUTION


# %% check="normalization_gradients"
check("normalization_gradients", normalization_gradients)

# %% [markdown]
# ### Extension `selection_gradients` (6 bonus points)
#
# Operators that pick: their adjoints go to what was picked. An embedding's row that several ids name gets the sum:
# `G.scatter_rows(x, ids, rows)` adds row i of x to row `ids[i]` of a table of zeros with that many `rows`. Where
# several entries share the maximum, they share its adjoint in equal parts. `G.equal(x, y)` compares,
# `G.cast(x, dtype)` makes numbers of it.


# %% exercise="selection_gradients"
def selection_gradients(node, grad):
    """The adjoints that node passes on, a list with a node for each input, None for ids and conditions.

    embedding: inputs table (V, C) and ids (...), () too, grad (..., C). where: condition, x, y, which may broadcast.
    max: one input, along node.operator.axes (a tuple, all counted from 0), with node.operator.keepdims. Infinities can
        be a maximum, and share it, as other numbers do.
    """
    ### BEGIN SOLUTION
    match node.operator.name, node.inputs:
        case "embedding", (table, ids):
            return [G.scatter_rows(grad, ids, table.shape[0]), None]
        case "where", (condition, _, _):
            return [None, G.where(condition, grad, 0.0), G.where(condition, 0.0, grad)]
        case "max", (x,):
            axes = node.operator.axes
            shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
            winners = G.cast(G.equal(x, G.reshape(node, shape)), x.dtype)
            return [winners / G.sum(winners, axes, keepdims=True) * G.reshape(grad, shape)]
    ### END SOLUTION


# %% check="selection_gradients"
check("selection_gradients", selection_gradients)

# %% [markdown]
# ### Extension `forward_rule` (8 bonus points)
#
# Forward mode has rules too. When the inputs move by tangents $\dot a, \dot b$, a product moves by
# $\dot a\, b + a\, \dot b$; a linear map moves by itself, applied to the tangent. Points by part: arithmetic 3 (`add`,
# `subtract`, `multiply`, `divide`), functions 2 (`exp`, `log`, `sin`, `tanh`), linear 3 (`sum`, `reshape`, `transpose`,
# `matmul`). `node.operator(x)` makes a node of the same operator.


# %% exercise="forward_rule"
def forward_rule(node, tangents):
    """The node's tangent, a node of its shape.

    tangents: for each of node.inputs a node of its shape, or None where that input stands still; not all are None. The
        list stays as it is.
    Inputs of arithmetic may broadcast, and one node may stand at both places.
    """
    ### BEGIN SOLUTION
    moves = [G.fill(one, 0.0) if t is None else t for one, t in zip(node.inputs, tangents, strict=True)]
    (x, y), (a, b) = ((row[0], row[-1]) for row in (node.inputs, moves))  # of one input y is x, and b is a
    table = {
        "add": lambda: a + b,
        "subtract": lambda: a - b,
        "multiply": lambda: a * y + x * b,
        "divide": lambda: (a - node * b) / y,
        "exp": lambda: node * a,
        "log": lambda: a / x,
        "sin": lambda: G.cos(x) * a,
        "tanh": lambda: (1 - node * node) * a,
        "matmul": lambda: a @ y + x @ b,
    }
    return table.get(node.operator.name, lambda: node.operator(a))()
    ### END SOLUTION


# %% check="forward_rule"
check("forward_rule", forward_rule)

# %% [markdown]
# ## What you built
#
# An engine: rules, an order, an algorithm of ten lines, an evaluator. `mlsys_course.autodiff` is the reference, with
# rules for all of `mlsys_course.substrate.graph`, `TrainingStep` (the master equation as an object), forward mode, and
# backpropagation on the forward graph with numbers for nodes, as Caffe had it. Its tests compare every operator with
# PyTorch, and a GPT and a block of LLaMA with Hugging Face's. Yours take their place there:
# `TrainingStep(loss, weights, AdamW(step=adamw_step), order=topological_order, gradient=gradient, evaluator=Evaluator,
# rule=rule_with(sum_to, linear_gradients=linear_gradients))`. Lab 6 takes these graphs and makes them faster.
#
# **What real systems do differently.** PyTorch's eager mode records a graph anew in every forward pass and frees it
# while it goes back: no fixed shapes, but nobody sees the whole step. `torch.compile` and JAX trace first, as we do.
# Rules are fused kernels where it pays, so that a rule's intermediate values never reach memory. What to keep from
# forward and what to compute again is a choice (lab 10). Weights are updated in place, to save a second copy.
#
# **Papers.** Griewank and Walther 2008, *Evaluating Derivatives* (the book); Baydin et al. 2018, "Automatic
# differentiation in machine learning: a survey"; Rumelhart, Hinton and Williams 1986; Abadi et al. 2016, "TensorFlow";
# Paszke et al. 2019, "PyTorch"; Kingma and Ba 2015; Loshchilov and Hutter 2019.
