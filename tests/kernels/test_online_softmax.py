"""The softmax in pieces is the softmax, however keys are cut, and however states are merged."""

import math

import pytest
import torch

from mlsys_course.kernels import merge_states, online_softmax


@pytest.mark.parametrize("cuts", [[12], [5, 7], [1] * 12, [0, 12, 0], [3, 9]])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_pieces_are_the_whole(cuts, scale, normal):
    scores, values = normal(2, 3, 12) * scale, normal(2, 12, 4)
    scores[0, 0, :7] = -math.inf
    state = None
    for part, rows in zip(scores.split(cuts, -1), values.split(cuts, 1), strict=True):
        before = None if state is None else [x.clone() for x in state]
        after = online_softmax(part, rows, state)
        assert state is None or all(map(torch.equal, state, before))
        state = after
    top, total, weighted = state
    torch.testing.assert_close(weighted / total[..., None], scores.softmax(-1) @ values)
    torch.testing.assert_close(top + total.log(), scores.logsumexp(-1))


def test_nothing_seen_is_no_nan(normal):
    state = online_softmax(torch.full((3, 5), -math.inf), normal(5, 2).float())
    assert [x.tolist() for x in state] == [[-math.inf] * 3, [0.0] * 3, [[0.0, 0.0]] * 3]
    scores, values = normal(3, 5).float(), normal(5, 2).float()
    torch.testing.assert_close(online_softmax(scores, values, state), online_softmax(scores, values))
    torch.testing.assert_close(merge_states(state, state), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_wide(dtype, normal):
    scores, values = normal(2, 4000).to(dtype), normal(4000, 3).to(dtype)
    state = online_softmax(scores, values)
    wide = torch.promote_types(dtype, torch.float32)
    assert {x.dtype for x in state} == {wide}
    torch.testing.assert_close(state[2] / state[1][..., None], scores.to(wide).softmax(-1) @ values.to(wide))


def test_merging_is_associative_and_the_whole(normal):
    scores, values = normal(4, 9) * 30, normal(9, 2)
    a, b, c = (online_softmax(scores[:, part], values[part]) for part in (slice(2), slice(2, 6), slice(6, 9)))
    for found in (
        merge_states(merge_states(a, b), c),
        merge_states(a, merge_states(b, c)),
        merge_states(c, merge_states(b, a)),
    ):
        torch.testing.assert_close(found, online_softmax(scores, values))
