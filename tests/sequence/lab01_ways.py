"""Lab 1's exercises solved in other ways: unusual, and right."""

import torch
import torch.nn.functional as F


def rnn_cell_joined(x, h, w_xh, w_hh, b):
    """One product, in float64, and tanh by the sigmoid."""
    both = torch.cat([x, h], dim=-1).double() @ torch.cat([w_xh, w_hh]).double()
    return (2 * torch.sigmoid(2 * (both + b.double())) - 1).to(x.dtype)


def rnn_by_sequence(x, h_0, w_xh, w_hh, b, mask=None, *, cell):
    """One sequence at a time; the cell is not even called on padding."""
    if not x.shape[1]:
        raise ValueError("empty")
    rows = []
    for n in range(len(x)):
        h, states = h_0[n : n + 1], []
        for t in range(x.shape[1]):
            if mask is None or mask[n, t]:
                h = cell(x[n : n + 1, t], h, w_xh, w_hh, b)
            states.append(h)
        rows.append(torch.cat(states))
    return torch.stack(rows)


def rnn_backward_without_recursion(x, h_0, states, d_states, w_xh, w_hh):
    """The sum over all pairs of steps, each path walked on its own, in float64."""
    x64, first, s, d, w_x, w_h = (a.double() for a in (x, h_0, states, d_states, w_xh, w_hh))
    d_h = torch.zeros_like(s)
    for t in range(x.shape[1]):
        for later in range(t, x.shape[1]):
            path = d[:, later]
            for step in range(later, t, -1):
                path = (path * (1 - s[:, step] ** 2)) @ w_h.T
            d_h[:, t] += path
    d_z, before = d_h * (1 - s**2), torch.cat([first[:, None], s[:, :-1]], 1)
    found = {"x": d_z @ w_x.T, "h_0": d_z[:, 0] @ w_h.T, "b": d_z.sum((0, 1))}
    found |= {"w_xh": (x64.mT @ d_z).sum(0), "w_hh": (before.mT @ d_z).sum(0)}
    return {name: g.to(x.dtype) for name, g in found.items()}


def jacobians_from_each_state(states, w_hh):
    """Every product from its own beginning, with diagonal matrices written out."""
    products = []
    for t in range(len(states)):
        product = torch.eye(len(w_hh), dtype=w_hh.dtype, device=w_hh.device)
        for h in states[t + 1 :]:
            product = torch.diag(1 - h * h) @ w_hh.T @ product
        products.append(product)
    return torch.stack(products)


def loss_by_cross_entropy(decode, target, start, end, padding):
    n = (target != padding).sum(1, keepdim=True)
    labels = F.pad(target, (0, 1), value=padding).scatter(1, n, end)
    labels = labels.masked_fill(torch.arange(labels.shape[1], device=labels.device) > n, -100)
    logits = decode(F.pad(target, (1, 0), value=start))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def loss_word_by_word(decode, target, start, end, padding):
    """A prefix at a time; rows are filled up with the end mark."""
    target = torch.where(target == padding, end, target)
    read, lost = torch.full_like(target[:, :1], start), []
    open_ = torch.ones(len(target), dtype=torch.bool, device=target.device)
    for t in range(target.shape[1] + 1):
        label = target[:, t] if t < target.shape[1] else torch.full_like(target[:, 0], end)
        z = decode(read)[:, -1]
        z = z if z.dtype == torch.float64 else z.float()
        lost.append((z.logsumexp(-1) - z.gather(1, label[:, None])[:, 0])[open_])
        open_ = open_ & (label != end)
        read = torch.cat([read, label[:, None]], 1)
    return torch.cat(lost).mean()


def scores_by_einsum(kind, s, h, *w):
    if kind == "additive":
        pairs = torch.stack([h @ w[0] + row @ w[1] for row in s.transpose(0, 1)[:, :, None]], 1)
        return torch.einsum("btsa,a->bts", pairs.tanh(), w[2])
    middle = {"dot": torch.eye(s.shape[-1], h.shape[-1], dtype=s.dtype), "multiplicative": w[0] if w else None}
    middle["reduced"] = w[0] @ w[1].T if len(w) == 2 else None
    return torch.einsum("btd,de,bse->bts", s, middle[kind], h)


def attend_by_exponentials(scores, h, s, mask=None):
    """Padding by a large negative number, the largest score subtracted, in float64."""
    e = scores.double() if mask is None else scores.double() - 1e30 * (~mask[:, None]).double()
    grown = (e - e.amax(-1, keepdim=True)).exp()
    weights = grown / grown.sum(-1, keepdim=True)
    return weights.to(h.dtype), torch.cat([torch.einsum("bts,bsc->btc", weights, h.double()).to(h.dtype), s], 2)


def seq2seq_step_by_step(source, mask, inputs, weights, *, rnn, score, attend):
    """The handed-over state looked up by length; attention one target word at a time."""
    x = F.embedding(source, weights["source_embedding"])
    h = rnn(x, x.new_zeros(len(x), weights["encoder"][1].shape[0]), *weights["encoder"], mask=mask)
    last = h[torch.arange(len(x)), mask.sum(1) - 1]
    s = rnn(F.embedding(inputs, weights["target_embedding"]), last, *weights["decoder"], torch.ones_like(inputs) > 0)
    steps = [attend(score(row, h), h, row, mask) for row in s.split(1, dim=1)]
    logits = [F.linear(joined, weights["output"].T, weights["output_bias"]) for _, joined in steps]
    return torch.cat(logits, 1), torch.cat([attention for attention, _ in steps], 1)


def attend_by_the_lowest_number(scores, h, s, mask=None):
    """Padding at the lowest float, by an addition that may reach minus infinity."""
    e = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        e = e + torch.finfo(e.dtype).min * (~mask)[:, None].to(e.dtype)
    weights = F.softmax(e, -1).to(h.dtype)
    return [weights, torch.cat([torch.bmm(weights, h), s], -1)]


def lstm_by_columns(x, h, c, w_x, w_h, b):
    """A gate at a time, its sigmoid by a softplus; the pair is a list."""
    C = c.shape[1]
    i, f, g, o = (x @ w_x[:, n : n + C] + h @ w_h[:, n : n + C] + b[n : n + C] for n in range(0, 4 * C, C))
    i, f, o = (torch.exp(-F.softplus(-z)) for z in (i, f, o))
    c = i * torch.tanh(g) + f * c
    return [o * torch.tanh(c), c]


def clip_by_norms_of_norms(gradients, max_norm):
    """The norm of the tensors' norms, in float32 or better, and as a tensor."""
    wide = {name: g.to(torch.promote_types(g.dtype, torch.float32)) for name, g in gradients.items()}
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in wide.values()]))
    factor = (max_norm / norm.clamp(min=1e-30)).clamp(max=1.0)
    return {name: (wide[name] * factor).to(g.dtype) for name, g in gradients.items()}, norm


RIGHT = [
    ("rnn_cell", rnn_cell_joined),
    ("rnn", rnn_by_sequence),
    ("rnn_backward", rnn_backward_without_recursion),
    ("jacobian_product", jacobians_from_each_state),
    ("teacher_forced_loss", loss_by_cross_entropy),
    ("teacher_forced_loss", loss_word_by_word),
    ("scores", scores_by_einsum),
    ("attend", attend_by_exponentials),
    ("attend", attend_by_the_lowest_number),
    ("seq2seq", seq2seq_step_by_step),
    ("lstm_cell", lstm_by_columns),
    ("clip_by_norm", clip_by_norms_of_norms),
]
