# %% wrong: "what comes back beside the weights, times "output"": the state beside the context is the decoder's, not what attend returned.
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    C = weights["encoder"][1].shape[0]
    h = rnn(x, x.new_zeros(len(x), C), *weights["encoder"], mask)
    s = rnn(y, h[:, -1], *weights["decoder"])
    alpha, both = attend(score(s, h), h, s, mask)
    logits = both[..., :C] @ weights["output"][:C] + s @ weights["output"][C:] + weights["output_bias"]
    return logits, alpha


# %% wrong: "What attend returns first is returned as it is": the weights are divided by their sum.
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    h = rnn(x, x.new_zeros(len(x), len(weights["encoder"][2])), *weights["encoder"], mask)
    s = rnn(y, h[:, -1], *weights["decoder"])
    alpha, both = attend(score(s, h), h, s, mask)
    alpha = alpha / alpha.sum(-1, keepdim=True)
    return both @ weights["output"] + weights["output_bias"], alpha


# %% wrong: "Logits (B, T, V)" for any B: with one sequence the state that is handed over has no batch axis.
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    h = rnn(x, x.new_zeros(len(x), len(weights["encoder"][2])), *weights["encoder"], mask)
    last = h[:, -1:, :].squeeze()
    s = rnn(y, last, *weights["decoder"])
    alpha, both = attend(score(s, h), h, s, mask)
    return both @ weights["output"] + weights["output_bias"], alpha


# %% wrong: "The encoder reads ... from zeros" for any B: the zeros have at most C rows.
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    B = source.shape[0]
    zeros = torch.zeros_like(weights["encoder"][1])[:B]
    h = rnn(weights["source_embedding"][source], zeros, *weights["encoder"], mask)
    s = rnn(weights["target_embedding"][inputs], h[:, -1], *weights["decoder"], None)
    alpha, both = attend(score(s, h), h, s, mask)
    return both @ weights["output"] + weights["output_bias"], alpha


# %% wrong: "so has the result [the dtype of the call]": logits of 16-bit weights are float32.
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    h = rnn(x, x.new_zeros(len(x), len(weights["encoder"][2])), *weights["encoder"], mask)
    s = rnn(y, h[:, -1], *weights["decoder"])
    alpha, both = attend(score(s, h), h, s, mask)
    wide = torch.promote_types(both.dtype, torch.float32)
    return both.to(wide) @ weights["output"].to(wide) + weights["output_bias"].to(wide), alpha


# %% right: 
import torch
import torch.nn.functional as F
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    E, D = weights["source_embedding"], weights["target_embedding"]
    x = F.one_hot(source, len(E)).to(E.dtype) @ E
    y = torch.einsum("btv,vc->btc", F.one_hot(inputs, len(D)).to(D.dtype), D)
    e, d = weights["encoder"], weights["decoder"]
    h = rnn(x, torch.zeros(len(source), e[1].shape[0], dtype=E.dtype, device=E.device), e[0], e[1], e[2], mask)
    last = h[torch.arange(len(h), device=h.device), mask.sum(1) - 1]  # padding stands at the end
    s = rnn(y, last, d[0], d[1], d[2], torch.ones_like(inputs, dtype=torch.bool))
    alpha, both = attend(score(s, h), h, s, mask)
    logits = torch.stack([row @ weights["output"] for row in both]) + weights["output_bias"]
    return logits, alpha


# %% right: 
import torch
def seq2seq(source, mask, inputs, weights, *, rnn, score, attend):
    h_0 = torch.zeros(source.size(0), weights["decoder"][1].size(0), dtype=weights["output"].dtype, device=source.device)
    h = rnn(weights["source_embedding"].index_select(0, source.flatten()).view(*source.shape, -1), h_0,
            *weights["encoder"], mask=mask)
    s = rnn(weights["target_embedding"].index_select(0, inputs.flatten()).view(*inputs.shape, -1),
            h.select(1, h.size(1) - 1), *weights["decoder"], mask=None)
    found = attend(score(s, h), h, s, mask)
    wide = found[1].double() @ weights["output"].double() + weights["output_bias"].double()
    return wide.to(weights["output"].dtype), found[0]
