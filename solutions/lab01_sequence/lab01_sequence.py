# %% [markdown]
# # Lab 1: From recurrence to attention
#
# A sentence has any length, and its order matters. You build the network that was made for this, the recurrent one;
# differentiate it by hand and see why it forgets; make a translator of two of them; and give the translator what ended
# the age of recurrence: attention. At the end yours turns the English of 1611 into that of today, and shows you which
# word it looked at.
#
# **Time** six to eight hours; with the extensions two more. **Before this** lab 0: softmax, one-hot vectors and
# embeddings, a network's backward pass by hand. **Points** 100: eight functions (92), a choice (3), an open question
# (5). Five *extensions* are a bonus; nothing in the lab or in later ones needs them.
#
# **Conventions.** B batch (sequences side by side), T time, S source time, V vocabulary, C the width of a state, Cx the
# width of what a step reads. Where lecture notes leave something open, we hold to this:
#
# - **Rows are tokens**, so a state is $\tanh(xW_{xh} + hW_{hh} + b)$. (The notes have columns: $W_{hh}h + W_{xh}x$.)
# - **The bend (the nonlinearity) of a recurrent network is tanh.** (The notes write $\sigma$ for any.)
# - **Of a Jacobian, rows count outputs and columns inputs**: entry (i, j) is $\partial h_T[i] / \partial h_t[j]$.
# - **A mask is bool and True at tokens**, False at padding.
# - **States of the encoder are h, those of the decoder s**; scores e, weights $\alpha$, a context is a.
# - **Scores have no scale.** $1/\sqrt{d_k}$ comes with lab 2.
#
# All tensors of one call have the same dtype (float64, float32, bfloat16 or float16), and so has the result unless its
# docstring says otherwise. Arithmetic may run in that dtype or in a finer one, so float64 stays float64. Inputs may lie
# in memory in any order, as after a transpose. No function may change its inputs, nor write into what an earlier call
# returned.
#
# **Rules.** Not allowed in a solution are PyTorch's recurrent networks: `nn.RNN`, `nn.LSTM`, `nn.GRU`, their cells, and
# the functions under them; nor its `clip_grad_norm_`. In `rnn_backward` and `jacobian_product` autograd is not allowed
# either. In a scratch cell, do compare with all of these.

# %%
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mlsys_course.desk.check import check
from mlsys_course.substrate import data, plot
from mlsys_course.substrate.device import best, seed

torch.set_num_threads(1)  # steps are small here: a second thread would mostly wait
device = best()
print("The experiments run on", device)

# %% [markdown]
# ## 1. A network that reads word by word
#
# Give a sentence to a multi-layer perceptron: write its T word vectors side by side, (T·Cx) numbers, and multiply.
# Three things go wrong. *Fixed size*: the matrix has T·Cx rows, so a longer sentence does not fit. *No order*: nothing
# in the network says that word 3 comes after word 2; swap two blocks of rows and it is as good for the swapped
# sentence. *No sharing*: what it learns of "cat" as the first word, in the first rows, it does not know of "cat" as the
# third.
#
# A **recurrent network** reads one word at a time and keeps a **state**: one vector of width C that stands for all it
# has read. Each step makes a new state from the old one and the next word, with the *same* weights at every step:
#
# $$h_t = \tanh(x_t W_{xh} + h_{t-1} W_{hh} + b)$$
#
# ```
#            h_0 ──►[cell]── h_1 ──►[cell]── h_2 ──►[cell]── h_3     one cell, used three times
#                     ▲               ▲               ▲
#                    x_1             x_2             x_3
# ```
# *In words: a chain of three boxes from left to right; each takes the state from its left and a word from below, and
# hands a new state to its right.* Any length fits, order counts, and "cat" is learnt once.
# What the network is asked for is read off a state by one more matrix, $y_t = h_tW_{hy} + b_y$; ours comes in part 5.


# %% exercise="rnn_cell"
def rnn_cell(x: Tensor, h: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor) -> Tensor:
    """One step of a recurrent network: the next state tanh(x w_xh + h w_hh + b), of shape (B, C).

    x is (B, Cx), what B sequences read now; h is (B, C), their states before; w_xh is (Cx, C), w_hh (C, C), b (C,).
    C and Cx may be equal or not. What tanh is taken of may be in the thousands, of either sign: no NaN, and none in
    the gradients.
    """
    ### BEGIN SOLUTION
    return torch.tanh(x @ w_xh + h @ w_hh + b)
    ### END SOLUTION


# %% check="rnn_cell"
check("rnn_cell", rnn_cell)

# %% [markdown]
# Now the chain: "unrolled", as one says. Sentences of a batch differ in length, so short ones are filled up with
# **padding**, and a mask says which steps are tokens. A step on padding must leave the state alone. Then the last
# column, `states[:, -1]`, is what each sequence knew after its own last token, wherever its padding stands:
#
# ```
#   mask     ■   ■   ·   ·        ·   ·   ■   ■
#   states  h_1 h_2 h_2 h_2      h_0 h_0 h_1 h_2
# ```
# *In words: with two tokens and then two steps of padding, the states are h_1 and three times h_2; with the padding in
# front, twice h_0, then h_1 and h_2.* The cell is a parameter, so that another one can be put in its place.


# %% exercise="rnn"
def rnn(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    """The states after each of T steps, (B, T, C), of sequences x (B, T, Cx) that start from the states h_0 (B, C).

    Step t is cell(x[:, t], state before, w_xh, w_hh, b), which returns (B, C) as your rnn_cell does; call the parameter
    `cell`, since another cell than yours may be passed. `states[:, t]` is the state after token t; h_0 is not among
    them. `mask` is bool (B, T), True at tokens: a step on padding leaves that sequence's state as it was (h_0 where no
    token came before), and what finite numbers x holds there does not matter. None means that all are tokens.
    Gradients flow through all steps. Raises ValueError where T is 0.
    """
    ### BEGIN SOLUTION
    if x.shape[1] == 0:
        raise ValueError("x holds no token (T = 0); leave empty sequences out")
    h, states = h_0, []
    for t in range(x.shape[1]):
        after = cell(x[:, t], h, w_xh, w_hh, b)
        h = after if mask is None else torch.where(mask[:, t, None], after, h)
        states.append(h)
    return torch.stack(states, dim=1)
    ### END SOLUTION


# %% check="rnn"
check("rnn", rnn)

# %% [markdown]
# **Look at it.** Does a window of eight words hold an archaic one ("thou", "hath", ...)? Two networks learn it from the
# King James Bible, a perceptron and your `rnn`. In training, such words stand among the first four only.
#
# *Left, both axes logarithmic: the perceptron's first layer grows in proportion to the window, the recurrent network's
# does not grow. Right, for each position the share of archaic words that are found: at positions 1 to 4 the recurrent
# network finds all, the perceptron nine in ten; at 5 to 8, where training had none, the perceptron finds a quarter, the
# recurrent network still all.* Rows of the perceptron's matrix that never met an archaic word know none. And of the
# Bible's 31,099 verses, 598 fit a window of eight words.

# %% experiment="window"
seed(1)
verses = [archaic for archaic, _ in data.verse_pairs(max_words=16, held_out=0)[0]]
archaic = {"thou", "thee", "thy", "ye", "hath", "unto"}
cut = [verse[i : i + 8] for verse in verses for i in range(len(verse) - 7)]
where = torch.tensor([[word in archaic for word in words] for words in cut], device=device)  # (N, 8)
vocabulary = data.Vocabulary.of(verses, 500)
ids = data.padded([vocabulary.numbers(words) for words in cut], device)  # (N, 8)

early = (~where[:, 4:].any(1)).nonzero()[:, 0]  # archaic words stand in the first half only, or nowhere
vectors = torch.randn(len(vocabulary), 32).to(device)  # fixed: what the networks learn is what to do with them


def window_network(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor) -> Tensor:
    return torch.tanh(x.flatten(1) @ w_1 + b_1) @ w_2 + b_2  # a row of w_1 belongs to one position


def recurrent_network(x: Tensor, w_xh: Tensor, w_hh: Tensor, b_h: Tensor, w_2: Tensor, b_2: Tensor) -> Tensor:
    x = F.pad(x, (0, 0, 0, 1))  # a blank step, to answer on
    states = rnn(x, x.new_zeros(len(x), 32), w_xh, w_hh, b_h, cell=rnn_cell)
    return (states @ w_2 + b_2).amax(1)  # yes, where any step says yes


def hits_by_position(network, shapes: list[tuple[int, ...]]) -> list[float]:
    weights = [(torch.randn(*shape) / shape[0] ** 0.5).to(device).requires_grad_() for shape in shapes]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    yes, no = early[where[early].any(1)], early[~where[early].any(1)]
    for _ in range(200):
        rows = torch.cat([part[torch.randint(len(part), (32,))] for part in (yes, no)])
        loss = F.binary_cross_entropy_with_logits(
            network(vectors[ids[rows]], *weights)[:, 0], where[rows].any(1).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = []
    for place in range(8):  # windows whose one archaic word stands there
        rows = (where[:, place] & (where.sum(1) == 1)).nonzero()[:500, 0]
        with torch.no_grad():
            found.append((network(vectors[ids[rows]], *weights) > 0).float().mean().item())
    return found


mlp = hits_by_position(window_network, [(8 * 32, 32), (32,), (32, 1), (1,)])
recurrent = hits_by_position(recurrent_network, [(32, 32), (32, 32), (32,), (32, 1), (1,)])
fig, (left, right) = plot.figure(2)
widths = [2, 4, 8, 16, 32, 64]
left.loglog(widths, [T * 32 * 32 for T in widths], label="MLP: T·Cx·C")
left.loglog(widths, [32 * 32 + 32 * 32 for T in widths], label="RNN: Cx·C + C·C")
left.set_xticks(widths, widths, minor=False)
left.minorticks_off()
left.set(xlabel="words in the window, T", ylabel="weights of the first layer", ylim=(1e3, 1e5))
left.legend()
right.plot(range(1, 9), mlp, label="MLP")
right.plot(range(1, 9), recurrent, label="RNN")
right.axvspan(4.5, 8.5, color="0.9", label="not in training")
right.set(xlabel="where the archaic word stands", ylabel="share found", ylim=(0, 1.05))
right.legend(loc="lower left")
lengths = [len(data.plain_words(verse.archaic)) for verse in data.verses()]
print(f"A window of 8 words holds {sum(n <= 8 for n in lengths)} of {len(lengths):,} verses whole; "
      f"the longest has {max(lengths)}")  # fmt: skip
fig

# %% [markdown]
# ## 2. Back-propagation through time
#
# Training needs the gradient of a loss by the weights, and the weights are used T times. Write $z_t = x_t W_{xh} +
# h_{t-1} W_{hh} + b$ for the sum inside step t, and $\bar v$ for the gradient of the loss by v. The loss knows the
# state $h_t$ on two paths: directly (call that $d_t$: a decoder may read every state), and through the next step:
#
# ```
#              d_1             d_2             d_3        what the loss says of each state
#               ▼               ▼               ▼
#   h̄_0 ◄─[step 1]◄─ h̄_1 ◄─[step 2]◄─ h̄_2 ◄─[step 3]◄─ h̄_3
# ```
# *In words: the chain of before with all arrows turned around; at each state what the loss says of it directly joins
# what comes from the right.* One step backward is lab 0's chain rule, and tanh has the slope $1 - \tanh^2$:
#
# $$\bar h_t = d_t + \bar z_{t+1} W_{hh}^\top, \qquad \bar z_t = \bar h_t \odot (1 - h_t^2)$$
#
# with no second summand for t = T. The weights are the same at every step, so their gradients are sums over steps; what
# each step's matrix was multiplied with stands on the left:
#
# $$\bar W_{xh} = \sum_t x_t^\top \bar z_t, \quad \bar W_{hh} = \sum_t h_{t-1}^\top \bar z_t, \quad \bar b = \sum_t \bar
# z_t, \quad \bar x_t = \bar z_t W_{xh}^\top, \quad \bar h_0 = \bar z_1 W_{hh}^\top$$
#
# The forward pass is needed for its states only: this is why training a recurrent network keeps all of them. Where that
# is too much, one cuts the chain every k steps and lets no gradient through: *truncated* back-propagation.


# %% exercise="rnn_backward"
def rnn_backward(x, h_0, states, d_states, w_xh, w_hh):
    """The gradients of a loss by everything that went into states = rnn(x, h_0, w_xh, w_hh, b), without autograd.

    x is (B, T, Cx), h_0 (B, C), states (B, T, C) as your rnn returned them with your rnn_cell, without a mask; w_xh is
    (Cx, C), w_hh (C, C); T >= 1. d_states (B, T, C) is what the loss says of each state directly, its other paths left
    out: zeros but for the last where only the last state is used. Returns a dict with the five gradients "x", "h_0",
    "w_xh", "w_hh" and "b", each of the shape of what it is the gradient of; those of weights are summed over steps and
    sequences.
    """
    ### BEGIN SOLUTION
    before = torch.cat((h_0[:, None], states[:, :-1]), dim=1)  # the state that each step starts from
    d_z, passed = torch.empty_like(states), torch.zeros_like(h_0)
    for t in reversed(range(x.shape[1])):
        d_z[:, t] = (d_states[:, t] + passed) * (1 - states[:, t] ** 2)
        passed = d_z[:, t] @ w_hh.T
    return {
        "x": d_z @ w_xh.T,
        "h_0": passed,
        "w_xh": torch.einsum("bti,btj->ij", x, d_z),
        "w_hh": torch.einsum("bti,btj->ij", before, d_z),
        "b": d_z.sum((0, 1)),
    }
    ### END SOLUTION


# %% check="rnn_backward"
check("rnn_backward", rnn_backward)

# %% [markdown]
# ## 3. Why the long range fades
#
# How much does the last state know of state t? The chain rule multiplies one Jacobian for each step between them, the
# last one on the left:
#
# $$\frac{\partial h_T}{\partial h_t} = \frac{\partial h_T}{\partial h_{T-1}} \cdots \frac{\partial h_{t+1}}{\partial
# h_t}, \qquad \frac{\partial h_{\tau+1}}{\partial h_\tau} = \mathrm{diag}(1 - h_{\tau+1}^2)\, W_{hh}^\top$$
#
# A product of many matrices does what a product of many numbers does: where the factors shrink, it vanishes, where they
# stretch, it explodes, and both exponentially in T - t. A slope is at most 1, so no factor stretches by more than
# $W_{hh}$ does: by its largest *singular* value. Where that is below 1 the product must vanish; above 1 is needed for
# exploding, and does not suffice. (Of a symmetric $W_{hh}$ it is the largest absolute value of an eigenvalue; of others
# it may be larger.) What *eigenvalues* decide is how a power of one matrix grows in the end: the product where every
# slope is 1.


# %% exercise="jacobian_product"
def jacobian_product(states, w_hh):
    """The Jacobians of one sequence's last state by every state: (T, C, C), without autograd.

    states (T, C), T >= 1, are one sequence's, as your rnn with your rnn_cell returned them; w_hh is (C, C). Entry
    [t, i, j] is the derivative of states[T - 1, i] by states[t, j], all earlier states and all inputs held fixed; so
    the last matrix is the identity. Made on the device of the states.
    """
    ### BEGIN SOLUTION
    products = [torch.eye(states.shape[1], dtype=states.dtype, device=states.device)]
    for h in states[1:].flip(0):
        products.append(products[-1] @ ((1 - h**2)[:, None] * w_hh.T))
    return torch.stack(products[::-1])
    ### END SOLUTION


# %% check="jacobian_product"
check("jacobian_product", jacobian_product)

# %% [markdown]
# **Look at it.** We draw one $W_{hh}$ and scale it, so that the largest absolute value of its eigenvalues is what we
# like.
#
# *Two figures of the largest stretch by $\partial h_T/\partial h_t$ (its largest singular value), on a logarithmic
# axis, against the number of steps back, a line for each largest eigenvalue 0.5, 0.9, 1.0 and 1.2. Left, without
# inputs, the lines are soon straight: in 40 steps 0.5 falls to some 1e-12, 0.9 falls slowly, 1.0 stays level, 1.2 rises
# past 1000. Right, with inputs, all four fall, 1.2 to about 1e-3.* On the left all states are zero, so each slope is 1,
# the product is a power of $W_{hh}$, and eigenvalues decide. On the right slopes are below 1, and even 1.2 vanishes,
# though $W_{hh}$ stretches some vectors by 2.1. What stood 30 words ago hardly moves the weights.

# %% experiment="fading"
seed(2)
C, T = 32, 40
drawn = torch.randn(C, C) / C**0.5
drawn = drawn / torch.linalg.eigvals(drawn).abs().max()  # its largest eigenvalue now has the absolute value 1
x, h_0 = torch.randn(1, T, C), torch.zeros(1, C)
fig, axes = plot.figure(2)
for ax, input_scale, title in zip(
    axes, (0.0, 0.5), ("no input: tanh is a line", "inputs move tanh off its line"), strict=True
):
    for radius in (0.5, 0.9, 1.0, 1.2):
        w_hh = radius * drawn
        states = rnn(input_scale * x, h_0, torch.eye(C), w_hh, torch.zeros(C), cell=rnn_cell)
        norms = torch.linalg.matrix_norm(jacobian_product(states[0], w_hh), ord=2)  # (T,)
        ax.semilogy(range(T), norms.flip(0), label=f"|λ| = {radius}", markevery=8)
    ax.set(xlabel="steps back, T − t", title=title, ylim=(1e-13, 1e5))
    ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
axes[0].set_ylabel("largest stretch by ∂h_T / ∂h_t")
axes[0].legend()
fig

# %% [markdown]
# **A question on it.** $W_{hh}$ is symmetric with largest eigenvalue {{ eigenvalue }}, and at every step every slope
# $1 - h^2$ is {{ slope }}. A gradient that points along that eigenvector is carried back through {{ steps }} steps. By
# which factor is it multiplied?
#
# (a) {{ option_a }} &emsp; (b) {{ option_b }} &emsp; (c) {{ option_c }} &emsp; (d) {{ option_d }}

# %% exercise="fading_choice"
# Assign the letter of your answer, such as "a", to fading_choice.
### BEGIN SOLUTION
fading_choice = "{{ fading_answer }}"
### END SOLUTION

# %% check="fading_choice"
check("fading_choice", fading_choice)

# %% [markdown]
# **What was done about it.** A gradient that explodes is cut to a norm it may have: its direction is kept. One that
# vanishes needs another cell. **Long short-term memory** keeps a second state, the memory c, that no matrix multiplies.
# Three gates between 0 and 1 (i input, f forget, o output) say what is written, kept and shown; g is what would be
# written:
#
# $$[\,i, f, g, o\,] = x W_x + h W_h + b, \qquad c' = \mathrm{sig}(f) \odot c + \mathrm{sig}(i) \odot \tanh(g),$$
#
# $$h' = \mathrm{sig}(o) \odot \tanh(c')$$
#
# Along c the Jacobian of a step is the forget gate, $\mathrm{diag}(\mathrm{sig}(f))$, if the gates are held fixed: with
# the gate open it is 1, for any number of steps. Two more **extensions** around the same `rnn`: two directions, so that
# every token knows what comes after it, and several layers, each reading the states of the one below.


# %% exercise="lstm_cell"
def lstm_cell(x, h, c, w_x, w_h, b):
    """One step of an LSTM: the pair (h', c') of the equations, each (B, C).

    x is (B, Cx), h and c are (B, C), w_x is (Cx, 4C), w_h (C, 4C), b (4C,). The 4C columns hold i, f, g and o in this
    order, C columns each; sig is the logistic sigmoid 1 / (1 + e^-z). Inputs may be in the hundreds, and
    what the gates are taken of in the thousands: no NaN, and none in the gradients.
    """
    ### BEGIN SOLUTION
    i, f, g, o = (x @ w_x + h @ w_h + b).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
    ### END SOLUTION


# %% check="lstm_cell"
check("lstm_cell", lstm_cell)


# %% exercise="bidirectional"
def bidirectional(x, forward, backward, mask=None, *, rnn):
    """At each token the states of both directions side by side, (B, T, C1 + C2): the forward one first.

    x is (B, T, Cx); `forward` and `backward` are lists [w_xh, w_hh, b] of states C1 and C2 wide, which may differ. The
    parameter rnn(x, h_0, w_xh, w_hh, b, mask) is as your rnn with a cell bound to it; both directions start from zeros.
    The forward half at token t has read tokens 0 to t; the backward half the sequence's last token first, then back to
    t. `mask` (B, T) is True at tokens, at least one in a row, with padding at the end only; None means no padding. What
    stands at padding in the result does not matter, and padding does not matter to what stands at tokens.
    """
    ### BEGIN SOLUTION
    zeros = [x.new_zeros(len(x), len(b)) for _, _, b in (forward, backward)]
    turned = None if mask is None else mask.flip(1)  # padding in front leaves the state at zero
    there = rnn(x, zeros[0], *forward, mask)
    back = rnn(x.flip(1), zeros[1], *backward, turned).flip(1)
    return torch.cat((there, back), dim=-1)
    ### END SOLUTION


# %% check="bidirectional"
check("bidirectional", bidirectional)


# %% exercise="multi_layer"
def multi_layer(x, layers, mask=None, *, rnn):
    """The states of the last layer, (B, T, C): each layer reads the states of the one before, the first one x.

    `layers` is a list of [w_xh, w_hh, b], at least one, of states as wide as they say. The parameter
    rnn(x, h_0, w_xh, w_hh, b, mask) is as your rnn with a cell bound to it; every layer starts from zeros, and has the
    same `mask` (B, T), True at tokens, padding anywhere, or None.
    """
    ### BEGIN SOLUTION
    for w_xh, w_hh, b in layers:
        x = rnn(x, x.new_zeros(len(x), len(b)), w_xh, w_hh, b, mask)
    return x
    ### END SOLUTION


# %% check="multi_layer"
check("multi_layer", multi_layer)


# %% exercise="clip_by_norm"
def clip_by_norm(gradients, max_norm):
    """All gradients times min(1, max_norm / norm), and the norm that they had: (dict, number).

    `gradients` is a dict from names to tensors; norm is the root of the sum of the squares of all entries of all of
    them, taken in float32 or better, and in float64 for float64; max_norm is greater than 0. Tensors have any number of
    axes, none too. The dict returned has the same names, shapes and dtypes. Zeros stay zeros.
    """
    ### BEGIN SOLUTION
    norm = sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5
    factor = max_norm / max(norm, max_norm)
    return {name: g * factor for name, g in gradients.items()}, norm
    ### END SOLUTION


# %% check="clip_by_norm"
check("clip_by_norm", clip_by_norm)

# %% [markdown]
# ## 4. From one sequence to another
#
# Translation maps a sequence to another one of another length; so do summaries, answers, and code from a description.
# **Sequence to sequence** takes two recurrent networks. The *encoder* reads the source. Its last state is all that it
# hands over. The *decoder* starts from it and writes the target, one word at a time, until it says that it has ended:
#
# ```
#   thou  hast  said                                  you    said    END      labels
#     ▼     ▼     ▼                                    ▲      ▲       ▲
#   [enc]─[enc]─[enc]──── the last state, all ──────►[dec]──[dec]───[dec]
#                         that is handed over          ▲      ▲       ▲
#                                                    START   you     said     inputs
# ```
# *In words: the encoder's chain reads three words; its last state starts the decoder's chain, whose inputs are START,
# "you", "said" and whose labels are the same words one step earlier: "you", "said", END.*
#
# This is a **conditional language model**: it gives every next word a probability, given the words before it and the
# source x. The chain rule of probability makes that a probability of the whole sentence, the first word included:
#
# $$P(y \mid x) = \prod_{t=1}^{n+1} P(y_t \mid y_1, \dots, y_{t-1}, x), \qquad y_{n+1} = \mathrm{END}$$
#
# In training we know the target, so START and all its words are inputs at once: **teacher forcing**. The decoder
# reads the true word, whatever it would have said itself. The loss is the mean of $-\log P$ over all labels; encoder
# and decoder learn together, since gradients flow through the state that is handed over.


# %% exercise="teacher_forced_loss"
def teacher_forced_loss(decode, target, start, end, padding):
    """The mean of -log P(label) over the labels of a batch, the decoder being shown the true words: a 0-d tensor.

    target is int64 (B, T), T >= 1: each row n words, n from 0 to T, then T - n times the token `padding`; no word
    equals `padding` or `end`. Of a row with words y_1 ... y_n the inputs are `start`, y_1, ..., y_n, and the labels
    y_1, ..., y_n, `end`: n + 1 of each. decode(inputs) takes int64 (B, any length), all rows at once (it knows their
    sources), and returns logits (B, that length, V), those at t from the inputs up to t. Rows of the inputs may be
    filled up with any token; what follows a row's last label does not count. Every label counts alike, whichever row
    it is of. All tokens, the three marks included, are from 0 to V - 1; `end` and `padding` differ, `start` may equal
    one of them. Logits may be in the thousands. The log-softmax and the mean run in float32, or in float64 for float64
    logits, which is the result's dtype too. Everything is made on the device of target.
    """
    ### BEGIN SOLUTION
    B, T = target.shape
    lengths = (target != padding).sum(1)
    inputs = torch.cat((target.new_full((B, 1), start), target), dim=1)
    labels = torch.cat((target, target.new_full((B, 1), padding)), dim=1)
    labels[torch.arange(B, device=target.device), lengths] = end
    logits = decode(inputs)
    log_p = F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    chosen = log_p.gather(-1, labels[..., None])  # (B, T + 1, 1)
    return -chosen[torch.arange(T + 1, device=target.device) <= lengths[:, None]].mean()
    ### END SOLUTION


# %% check="teacher_forced_loss"
check("teacher_forced_loss", teacher_forced_loss)

# %% [markdown]
# ## 5. Attention
#
# One vector of fixed width must hold the whole source, however long: the **information bottleneck**. But the encoder
# has made a state at every token, $h_1 \dots h_S$. Why throw them away? The simplest use of all of them is their mean,
# the same for every target word. **Attention** is a mean with weights that the decoder chooses anew for each word: its
# state $s_t$ asks, every encoder state gets a *score* for how well it fits, a softmax makes a distribution of the
# scores, and the mean by these weights is the *context*:
#
# $$e_{ti} = \mathrm{score}(s_t, h_i), \qquad \alpha_{ti} = \frac{\exp e_{ti}}{\sum_j \exp e_{tj}}, \qquad a_t = \sum_i
# \alpha_{ti}\, h_i$$
#
# ```
#   h_1  h_2  h_3            α: 0.1  0.8  0.1
#    └────┼────┘── scores ── softmax ─────────── weighted mean ── a_t ─┐
#   s_t ──┘                                      of h_1 h_2 h_3        ├─ [a_t; s_t] ── logits
#   s_t ───────────────────────────────────────────────────────────────┘
# ```
# *In words: s_t is scored against each encoder state; the softmax of the scores weighs the states; their mean, written
# beside s_t, is what the next word is predicted from.* The way from any source word to any target word is one step now,
# not S + t of them.
#
# Four scores are in use. With s and h as rows, of widths Cs and Ch:
#
# | kind | score | learns |
# |---|---|---|
# | `"dot"` | $s \cdot h$, for Cs = Ch | nothing |
# | `"multiplicative"` | $s\,W\,h^\top$ | W (Cs, Ch): Cs·Ch numbers |
# | `"reduced"` | $(sU) \cdot (hV)$ | U (Cs, K), V (Ch, K): K·(Cs + Ch) |
# | `"additive"` | $\tanh(hW_1 + sW_2) \cdot v$ | $W_1$ (Ch, A), $W_2$ (Cs, A), v (A): A·(Cs + Ch + 1) |
#
# The reduced rank is the multiplicative one with $W = UV^\top$ of rank K, and is lab 2's attention: sU is a query, hV a
# key. (The notes' U and V are ours transposed.) The additive one, the oldest, is a small network for each pair.


# %% exercise="scores"
def scores(kind, s, h, *weights):
    """Scores (B, T, S) of decoder states s (B, T, Cs) against encoder states h (B, S, Ch), by the table above.

    `kind` is "dot" (no weights, Cs = Ch), "multiplicative" (w), "reduced" (u, v) or "additive" (w_1, w_2, v), with
    weights of the shapes in the table, in this order. Widths may be equal or not. No scale, no softmax. What tanh is
    taken of may be in the thousands, of either sign: no NaN, and none in the gradients.
    """
    ### BEGIN SOLUTION
    if kind == "dot":
        return s @ h.mT
    if kind == "multiplicative":
        (w,) = weights
        return s @ w @ h.mT
    if kind == "reduced":
        u, v = weights
        return (s @ u) @ (h @ v).mT
    w_1, w_2, v = weights
    return torch.tanh((h @ w_1)[:, None] + (s @ w_2)[:, :, None]) @ v  # (B, T, S, A) @ (A,)
    ### END SOLUTION


# %% check="scores"
check("scores", scores)


# %% exercise="attend"
def attend(scores, h, s, mask=None):
    """From scores to the pair (weights, [a; s]): the attention distribution, and each context beside its state.

    scores is (B, T, S), h (B, S, Ch), s (B, T, Cs). weights (B, T, S) are a softmax of the scores over the source;
    [a; s] is one tensor (B, T, Ch + Cs), the context first. `mask` is bool (B, S), True at source tokens, at least one
    in a row, padding anywhere: it gets a weight of exactly 0, whatever it scores. None means no padding. Scores may be
    in the tens of thousands, of either sign, those of padding too. The softmax runs in float32, or in float64 for
    float64; both results have the inputs' dtype.
    """
    ### BEGIN SOLUTION
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        precise = precise.masked_fill(~mask[:, None], float("-inf"))
    weights = precise.softmax(-1).to(h.dtype)
    return weights, torch.cat((weights @ h, s), dim=-1)
    ### END SOLUTION


# %% check="attend"
check("attend", attend)

# %% [markdown]
# Now the whole. There is no loop in it: `rnn` has the loops, and with teacher forcing all decoder states are there
# before any of them looks at the source, so one call of `score` and one of `attend` serve all T words.


# %% exercise="seq2seq"
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    """Logits (B, T, V) for the word after each of the inputs, and the attention weights (B, T, S), as a pair.

    source is int64 (B, S), mask its bool (B, S), True at tokens, one or more in a row, padding at the end; inputs is
    int64 (B, T). `weights` is a dict: "source_embedding" (Vs, Cx) and "target_embedding" (V, Cx), whose row n is the
    vector of token n; "encoder" and "decoder", lists [w_xh, w_hh, b] of states C wide; "output" (any width, V) and
    "output_bias" (V,). The encoder reads the embedded source, padding masked, from zeros; the decoder the embedded
    inputs, all of them tokens, from the encoder's state after the last source token. Its states s attend to the
    encoder's states h, padding masked; what comes back beside the weights, as wide as "output" has rows, times
    "output", plus the bias, is the logits. Parts: rnn(x, h_0, w_xh, w_hh, b, mask) with an optional mask, as your rnn
    with a cell bound to it; score(s, h), as your scores with kind and weights bound; attend(scores, h, s, mask) as
    yours. What attend returns first is returned as it is.
    """
    ### BEGIN SOLUTION
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    w_xh, w_hh, b = weights["encoder"]
    h = rnn(x, x.new_zeros(len(x), len(b)), w_xh, w_hh, b, mask)
    s = rnn(y, h[:, -1], *weights["decoder"])
    attention, joined = attend(score(s, h), h, s, mask)
    return joined @ weights["output"] + weights["output_bias"], attention
    ### END SOLUTION


# %% check="seq2seq"
check("seq2seq", seq2seq)

# %% [markdown]
# ## 6. From archaic to modern English
#
# The King James Bible of 1611 and the World English Bible of our days say the same, verse by verse. We train on pairs
# of at most sixteen words, to say the old ones in new words. Your functions are all there is, three times: with
# attention; with equal scores, so that the context is the mean of all states, whatever s asks for; and with a context
# of zero, so that all is known from the state that was handed over. Words beyond the thousand most frequent are one
# token, UNKNOWN; where the model with attention says it, we put the source word that it looks at most.
#
# How good is a translation? **BLEU** counts which runs of one to four words it shares with the true one, 0 to 100. Here
# is a trap: most words have not changed since 1611, so copying the source, which translates nothing, scores high. We
# print that baseline, and a second score for the words that change alone, where a copy gets nothing.
#
# *The figure: the loss per word against training steps. Three lines fall steeply for some fifty steps. Then they part:
# without attention the loss stays highest, above 4 nats; with mean pooling it comes to about 3, with attention below
# 2.* The cell takes about half a minute. All three start from the same weights and see the same batches. With
# attention, BLEU comes out a little above the copy's 48, and about 17 for the words that change, where the copy has 0.
# Without attention the model has learnt, in this time, which words are frequent, and little of the verse.

# %% experiment="translation"
seed(3)
learn, held_out = data.verse_pairs(max_words=16, held_out=300)
vocabulary = data.Vocabulary.of((sentence for pair in learn for sentence in pair), 1000)
C, V, by_length = 64, len(vocabulary), {}


def numbers_of(source: list[str]) -> list[int]:
    return [*vocabulary.numbers(source), data.END]  # a place to look at when all is said


for archaic, modern in learn:
    by_length.setdefault(len(archaic), []).append((numbers_of(archaic), vocabulary.numbers(modern)))


def look_nowhere(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return attend(scores, 0 * h, s, mask)  # the context is zero: all that is known of the source is s_0


def look_evenly(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return attend(0 * scores, h, s, mask)  # equal scores: the mean of the states, whatever s asks for


WAYS = {"no attention": look_nowhere, "mean pooling": look_evenly, "attention": attend}


def draw_weights() -> list[Tensor]:
    """Word vectors for both sides, two cells, the score's W, and what maps [a; s] to a word vector."""
    turns = torch.linalg.qr(torch.randn(5, C, C)).Q  # orthogonal: they keep lengths
    cells = [turns[0], turns[1] / 2, torch.zeros(C), turns[2], turns[3] / 2, torch.zeros(C)]
    drawn = [torch.randn(V, C), *cells, turns[4], torch.randn(2 * C, C) / (2 * C) ** 0.5, torch.zeros(V)]
    return [weight.to(device).clone().requires_grad_() for weight in drawn]


def run(weights: list[Tensor], way: str, source: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and attention; a word is likely where [a; s], mapped to C channels, points along its vector."""
    words, encoder, decoder, (w, w_c, bias) = weights[0], weights[1:4], weights[4:7], weights[7:]
    named = {"source_embedding": words, "target_embedding": words, "encoder": encoder, "decoder": decoder,
             "output": w_c @ words.T, "output_bias": bias}  # fmt: skip
    score = lambda s, h: scores("multiplicative", s, h, w)  # noqa: E731
    parts = {"rnn": partial(rnn, cell=rnn_cell), "score": score, "attend": WAYS[way]}
    return seq2seq(source, source != data.PADDING, inputs, named, **parts)


def loss_of(weights: list[Tensor], way: str, source: Tensor, target: Tensor) -> Tensor:
    """The loss per word of what the model says of these sources."""
    decode = lambda inputs: run(weights, way, source, inputs)[0]  # noqa: E731
    return teacher_forced_loss(decode, target, data.START, data.END, data.PADDING)


def train(way: str, steps: int = 350, batch: int = 24) -> tuple[list[Tensor], list[float]]:
    seed(4)  # the same weights and the same batches for each way
    weights, losses = draw_weights(), []
    optimizer = torch.optim.Adam(weights, lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 20, 1 - i / steps))
    lengths = torch.tensor([len(by_length[n]) for n in sorted(by_length)], dtype=torch.float)
    for _ in range(steps):  # a batch has one length, so that no step is spent on padding
        pairs = by_length[sorted(by_length)[torch.multinomial(lengths, 1).item()]]
        source, target = zip(*(pairs[i] for i in torch.randint(len(pairs), (batch,)).tolist()), strict=True)
        loss = loss_of(weights, way, data.padded(source, device), data.padded(target, device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return weights, losses


@torch.no_grad()
def translate(weights: list[Tensor], way: str, sources: list[list[str]]) -> tuple[list[list[str]], Tensor]:
    """The likeliest word each time; an unknown one is replaced by the source word that has most of the attention."""
    numbers = data.padded([numbers_of(source) for source in sources], device)
    said = torch.full((len(sources), 1), data.START, device=device)
    for _ in range(20):
        logits, attention = run(weights, way, numbers, said)
        said = torch.cat([said, logits[:, -1:].argmax(-1)], dim=1)
        if (said == data.END).any(1).all():
            break
    hypotheses = []
    for source, row, places in zip(sources, said[:, 1:].tolist(), attention.argmax(-1).tolist(), strict=True):
        length = row.index(data.END) if data.END in row else len(row)
        words = [vocabulary.words[word] for word in row[:length]]
        if way == "attention":
            looked_at = [[*source, ""][place] for place in places[:length]]
            words = [
                seen if word == data.UNKNOWN else said for word, said, seen in zip(row, words, looked_at, strict=False)
            ]
        hypotheses.append(words)
    return hypotheses, attention


old, new = [archaic for archaic, _ in held_out], [modern for _, modern in held_out]
translations, trained = {"copy the source": old}, {}
fig, (ax,) = plot.figure()
ax.plot([], [])  # the first colour is the copy's, below
for way in WAYS:
    trained[way], losses = train(way)
    translations[way], _ = translate(trained[way], way, old)
    smooth = torch.tensor(losses).unfold(0, 25, 25).mean(-1)
    ax.plot(range(25, len(losses) + 1, 25), smooth, label=way)
print(f"{'':16} {'BLEU':>6} {'BLEU of words that change':>27}")
for way, said in translations.items():
    print(f"{way:16} {data.bleu(said, new):6.1f} {data.changed_bleu(old, said, new):27.1f}")
ax.set(xlabel="training step", ylabel="loss per word (nats)", ylim=(0, None))
ax.legend()
fig

# %% [markdown]
# **Look at it: the bottleneck.** The same translations by the length of the source; these verses were not trained on.
#
# *Left, BLEU against four groups of lengths: the copy and the model with attention lie close together, between 40 and
# 65; the two others lie below 7. Right, the models' loss per word. Without attention it is highest, 3.6 to 4.4 nats;
# with mean pooling it rises from 2.2 to 3.4, with attention from 1.3 to about 2.* One vector of 64 numbers has to hold
# the whole verse: the longer the verse, the less of each word. Mean pooling lets all states through and cannot choose;
# what does it know of a verse that the handed-over state does not?

# %% experiment="bottleneck"
groups = {"3–9": range(3, 10), "10–12": range(10, 13), "13–14": range(13, 15), "15–16": range(15, 17)}
rows_of = {name: [i for i, source in enumerate(old) if len(source) in group] for name, group in groups.items()}
fig, (left, right) = plot.figure(2)
for way, said in translations.items():
    scored = [data.bleu([said[i] for i in rows], [new[i] for i in rows]) for rows in rows_of.values()]
    left.plot(list(groups), scored, label=way)
right.plot([], [])  # the first colour is the copy's
for way, weights in trained.items():
    losses = []
    for rows in rows_of.values():
        source = data.padded([numbers_of(old[i]) for i in rows], device)
        target = data.padded([vocabulary.numbers(new[i]) for i in rows], device)
        with torch.no_grad():
            losses.append(float(loss_of(weights, way, source, target)))
    right.plot(list(groups), losses, label=way)
left.set(xlabel="words in the source", ylabel="BLEU", ylim=(0, None))
right.set(xlabel="words in the source", ylabel="loss per word, held out (nats)", ylim=(0, None))
left.legend()
fig

# %% [markdown]
# **Look at it: who looks where.** *A heat map of weights, a row for each word that your model says, a column for each
# word of the source and its end. Nearly every row has one bright cell. They lie along a diagonal that starts at the
# second column: the "and" of the source is not translated.* Nobody told the model which words belong together, nor that
# order has changed little: the alignment is learnt from the loss alone. "bath-sheba" is not among the thousand words:
# the model says UNKNOWN there, and where it looks tells which word to put.

# %% experiment="alignment"
chosen = next(i for i, source in enumerate(old) if "thee" in source and len(new[i]) < len(source) <= 12)
(said,), weights = translate(trained["attention"], "attention", [old[chosen]])
print("archaic  ", " ".join(old[chosen]))
print("modern   ", " ".join(new[chosen]))
print("our model", " ".join(said))
tokens = [*old[chosen], "<end>"]
labels = {"row_label": "our model says", "column_label": "source", "titles": "who looks where"}
plot.heatmap(weights[0, : len(said)], said, tokens, limits=(0, 1), **labels)

# %% [markdown]
# **In your own words** (5 points, read by a person; about 120 words). Two troubles of a translator made of two
# recurrent networks: name them, and say which of your figures shows each. How does attention mend both? And which
# trouble does it leave, as long as the states that it looks at are those of a recurrent network?

# %% [markdown] question="bottleneck"
# ### BEGIN SOLUTION
# The bottleneck: all that the decoder learns of the source is one vector of C numbers, however long the sentence; in
# the figures by length, the model without attention has twice the loss of the one with it, and a BLEU near zero.
# Fading: a word at the start of the source reaches the loss through a product of one Jacobian for each step between
# them, which shrinks or grows exponentially (the figure of norms). Attention keeps every encoder state, so nothing must
# fit into one vector, and each is one step away from every target word, so its gradient passes no product. What stays:
# encoder and decoder states are still made one after the other. T steps wait for each other, whatever the hardware; the
# figure of times shows it. Recurrence itself must go, and order must then be told in another way: positions.
# ### END SOLUTION

# %% [markdown]
# **An extension: input feeding.** Your decoder looks at the source and forgets where it has looked: its next state is
# made of words only. *Feeding* tells it: each step reads the word and the context of the step before. Now the steps of
# the decoder do wait for attention, and it needs a loop of its own.


# %% exercise="input_feeding"
def input_feeding(y, s_0, h, mask, w_xh, w_hh, b, *, cell, score, attend):
    """What attend returns second for every target word, (B, T, Ch + C), of a decoder that is told where it looked.

    y is (B, T, Cy), embedded inputs, T >= 1; s_0 is (B, C); h is (B, S, Ch), mask its bool (B, S), True at tokens, one
    or more in a row, or None. Step t reads [y_t; a_{t-1}], the word first, where a_{t-1} is the context of the step
    before and a_0 = 0: s_t = cell([y_t; a_{t-1}], s_{t-1}, w_xh, w_hh, b), with w_xh (Cy + Ch, C). Then s_t, as one
    step (B, 1, C), is scored by score(s, h) and attends by attend(scores, h, s, mask), both as in seq2seq; the first Ch
    channels of its second result are a_t. Gradients flow through what is fed.
    """
    ### BEGIN SOLUTION
    s, a, found = s_0, h.new_zeros(len(h), h.shape[-1]), []
    for t in range(y.shape[1]):
        s = cell(torch.hstack((y[:, t], a)), s, w_xh, w_hh, b)
        _, joined = attend(score(s[:, None], h), h, s[:, None], mask)
        a = joined.squeeze(1)[:, : h.shape[-1]]
        found.append(joined)
    return torch.cat(found, dim=1)
    ### END SOLUTION


# %% check="input_feeding"
check("input_feeding", input_feeding)

# %% [markdown]
# ## 7. Steps that wait
#
# Step t of a recurrent network needs the state of step t - 1. So T steps follow one another, each a small product, and
# a device that could do thousands of them at the same time waits. Scores and weighted means of T tokens are two large
# products, however long the sequence: one step. What is paid: T² scores. For n tokens of width d, a multiply-add
# counted as 2 FLOPs,
#
# $$\text{recurrence: } 2 \cdot 2 n d^2, \qquad \text{attention: } 2 \cdot 2 n^2 d$$
#
# (a cell's two products with d by d matrices; scores and means, projections left out). They are equal at n = d.
#
# *Left, both axes logarithmic: time against T of your `rnn` and of your `attend` with dot-product scores, of a sequence
# against itself. The recurrent network's line has slope 1 and lies above; attention's starts nearly flat and bends up
# towards slope 2. Right, FLOPs at d = 512: lines of slope 1 and 2 that cross at n = d.* On the left d is 64: beyond T =
# 64 attention does *more* arithmetic, and is still done sooner, since its products are large and wait for nothing. A
# GPU needs thousands of independent operations to be busy; there the gap is wider. At some length n² wins: that is lab
# 12's.


# %% experiment="parallel"
def milliseconds(work) -> float:
    work()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


C, lengths, measured = 64, [16, 64, 256, 1024], {"RNN": [], "attention": []}
w_xh, w_hh = torch.randn(2, C, C, device=device) / 16
b, h_0 = torch.zeros(C, device=device), torch.zeros(1, C, device=device)
for T in lengths:
    x = torch.randn(1, T, C, device=device)
    measured["RNN"].append(milliseconds(lambda x=x: rnn(x, h_0, w_xh, w_hh, b, cell=rnn_cell)))
    measured["attention"].append(milliseconds(lambda x=x: attend(scores("dot", x, x), x, x)))
fig, (left, right) = plot.figure(2)
for name, times in measured.items():
    left.loglog(lengths, times, label=name)
left.set(xlabel="tokens T", ylabel="milliseconds on this machine", title=f"C = {C}")
left.legend()
d, sizes = 512, [2**k for k in range(6, 14)]
right.loglog(sizes, [4 * n * d * d for n in sizes], label="RNN: 4 n d²")  # two matrix products, 2 FLOPs an entry
right.loglog(sizes, [4 * n * n * d for n in sizes], label="attention: 4 n² d")  # scores, and the weighted mean
right.axvline(d, color="0.6", linewidth=0.8, zorder=0)
right.annotate("n = d", (d, 4e7), rotation=90, ha="right", va="bottom")
right.set(xlabel="tokens n", ylabel="FLOPs", title=f"d = {d}")
right.legend()
for name, steps in {"RNN": "T steps", "attention": "1 step"}.items():
    times = ", ".join(f"{t:.2f} ms at T={T}" for T, t in zip(lengths, measured[name], strict=True))
    print(f"{name}: {steps} that must wait for the one before; {times}")
fig

# %% [markdown]
# ## What you built
#
# Eight functions and, if you like, five more: they live in `mlsys_course/sequence/` (`recurrent.py`,
# `through_time.py`, `long_range.py`, `lstm.py`, `conditional.py`, `scoring.py`, `attending.py`, `translator.py`),
# under the names that you gave them; compare after handing in. Can we get rid of recurrence entirely? What remained
# useful was the look-up: a query, keys, values. Lab 2 takes it alone: a sentence attends to *itself*, all tokens at
# the same time, by a few large matrix products. What it loses with recurrence, the sense of order, it gets back from
# positions.
#
# **Real systems** ran on this until 2017: Google's translator of 2016 was eight LSTM layers on each side, with
# attention and residuals. They feed back their own words when they translate, keep several candidates (beam search),
# and cut words into pieces so that no word is unknown. PyTorch's `nn.LSTM` does all input products $x_t W_x$ in one,
# since they wait for nobody, and fuses the rest; the T products $h_{t-1}W_h$ stay a chain. Linear recurrences without a
# bend, such as in state-space models, can be computed as a tree, in log T steps: recurrence is coming back through that
# door.
#
# **Papers.** Elman 1990 (recurrent networks). Werbos 1990 (through time). Williams and Peng 1990 (truncated). Bengio et
# al. 1994; Pascanu et al. 2013 (vanishing and exploding, clipping). Hochreiter and Schmidhuber 1997; Gers et al. 2000
# (LSTM). Schuster and Paliwal 1997 (both directions). Sutskever et al. 2014; Cho et al. 2014 (sequence to sequence).
# Bahdanau et al. 2014 (attention, additive). Luong et al. 2015 (dot, general, input feeding). Wu et al. 2016 (Google's
# translator). Vaswani et al. 2017 (no recurrence).
