"""Trees and their bytes: everything comes back as it was, and nothing malformed comes back at all."""

import json
import math
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys_course.desk.check.compare import compare
from mlsys_course.desk.check.outcome import Outcome
from mlsys_course.desk.check.tree import NAMES, TreeError, _file, decode, encode, plain
from mlsys_course.desk.check.verdict import Result
from mlsys_course.desk.check.verdict_table import power_of_ten, sealed_words

numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@given(trees)
@settings(max_examples=200, deadline=None)
def test_round_trip_of_any_tree(tree):
    assert decode(encode(tree)) == tree


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
NO_TREES = [object(), {1: 2}, {"f": len}, torch.eye(3).to_sparse(), torch.ones(2, device="meta")]


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_keep_dtype_shape_and_bits(dtype):
    x = (torch.arange(12).reshape(3, 4) % 3).to(dtype)
    back = decode(encode({"x": [x, x.T, x[:0]]}))["x"]
    for was, now in zip([x, x.T, x[:0]], back, strict=True):
        assert now.dtype == dtype and now.shape == was.shape and torch.equal(now, was)


@given(st.lists(st.tuples(st.sampled_from(list(NAMES)), st.lists(st.integers(0, 3), max_size=3)), max_size=12))
@settings(deadline=None)
def test_bytes_are_those_of_safetensors(kinds):
    tensors = {
        str(i): (torch.arange(float(np.prod(shape))) % 2).reshape(shape).to(t) for i, (t, shape) in enumerate(kinds)
    }
    text = {"tree": 'any "words", é'}
    assert _file(tensors, text) == safetensors.torch.save(tensors, metadata=text)


def test_a_dtype_that_no_file_has_is_told():
    with pytest.raises(TreeError, match="float8"):
        encode({"x": torch.ones(2).to(torch.float8_e5m2)})


def test_tuples_become_lists_and_numpy_scalars_numbers():
    assert decode(encode((np.float32(0.5), np.int64(3), np.bool_(True)))) == [0.5, 3, True]


def test_numbers_that_json_has_no_word_for():
    back = decode(encode([math.inf, -math.inf, math.nan]))
    assert back[:2] == [math.inf, -math.inf] and math.isnan(back[2])


@pytest.mark.parametrize("value", NO_TREES)
def test_what_is_no_tree_is_told_so(value):
    with pytest.raises(TreeError):
        encode(value)


def test_endless_nesting_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(TreeError, match="deep"):
        plain(value)


def hostile() -> list[bytes]:
    good = encode({"x": torch.ones(3), "n": 1})
    (length,) = struct.unpack("<Q", good[:8])
    header = json.loads(good[8 : 8 + length])

    def with_tree(text: str) -> bytes:
        changed = json.dumps({**header, "__metadata__": {"tree": text}}).encode()
        return struct.pack("<Q", len(changed)) + changed + good[8 + length :]

    return [
        b"",
        b"\x80\x04N.",  # a pickle
        good[:-4],
        struct.pack("<Q", 1 << 62) + good[8:],
        with_tree("[" * 100_000),
        with_tree('{"t": 7}'),
        with_tree('{"t": -1}'),
        with_tree('{"d": 3}'),
        with_tree('{"x": 1}'),
        with_tree("1" + "0" * 10_000),
        with_tree(json.dumps([0] * 200_000)),
        good.replace(b"F32", b"F99"),
        b"PK\x03\x04" + bytes(100),
    ]


@pytest.mark.parametrize("blob", hostile(), ids=lambda blob: f"{len(blob)} bytes")
def test_malformed_bytes_raise_one_error_and_nothing_else(blob):
    with pytest.raises(TreeError):
        decode(blob)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_never_pass(blob):
    with pytest.raises(TreeError):
        decode(blob)


class TestCompare:
    def test_a_mistake_is_said_in_words(self):
        want = {"out": torch.zeros(2, 3), "n": 3, "name": "a"}
        cases = {
            "out is missing": {"n": 3, "name": "a"},
            "out has shape (3, 2), expected (2, 3)": {**want, "out": torch.zeros(3, 2)},
            "out has dtype float64, expected float32": {**want, "out": torch.zeros(2, 3).double()},
            "out is a number, expected a tensor": {**want, "out": 0.5},
            "out has NaN at [1, 2]": {**want, "out": torch.tensor([[0, 0, 0], [0, 0, math.nan]])},
            "out is infinite at [0, 1]": {**want, "out": torch.tensor([[0, math.inf, 0], [0, 0, 0]])},
            "n is a bool, expected a whole number": {**want, "n": True},
            "name is None (is a `return` missing?), expected a string": {**want, "name": None},
            "out is a list, expected a tensor": {**want, "out": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]},
            "out is a dict, expected a tensor": {**want, "out": {"values": torch.zeros(2, 3)}},
            "extra was not expected": {**want, "extra": 1},
        }
        for words, got in cases.items():
            assert [leaf.reason for leaf in compare(got, want, 1e-5) if not leaf.ok] == [words]

    @pytest.mark.parametrize(("got", "words"), [
        ("nothing", "raises nothing, expected ValueError"),
        ("IndexError", "raises IndexError, expected ValueError"),
        ("y has NaN, expected 3", "runs[1].raised has another value"),  # a candidate's own text is not quoted
    ])  # fmt: skip
    def test_what_bad_input_raises_is_named(self, got, words):
        wanted = [{"raised": "nothing"}, {"raised": "ValueError"}]
        result = compare({"runs": [{"raised": "nothing"}, {"raised": got}]}, {"runs": wanted}, 1e-5)
        assert [leaf.reason for leaf in result] == ["", words]
        assert sealed_words(Result("case", "part", Outcome({}), result, [words])) == "runs[1].raised is off"

    def test_other_strings_are_not_quoted(self):
        assert compare({"name": "ValueError"}, {"name": "nothing"}, 1e-5)[0].reason == "name has another value"

    @pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
    def test_error_counts_in_tolerances(self, scale):
        want = torch.full((4,), scale, dtype=torch.float64)
        got = want.clone()
        got[2] += 3e-5 * (1 + scale)
        (leaf,) = compare(got, want, 1e-5)
        assert not leaf.ok and leaf.error == pytest.approx(3) and leaf.where == (2,)

    def test_infinities_and_nan_that_are_expected_pass(self):
        want = torch.tensor([math.inf, -math.inf, math.nan, 1.0])
        assert all(leaf.ok for leaf in compare(want.clone(), want, 1e-5))
        assert not compare(-want, want, 1e-5)[0].ok

    def test_whole_numbers_are_exact_however_large(self):
        assert not compare(174_604_259_329, 174_604_259_328, 1e-3)[0].ok
        assert compare(174_604_259_328.0, 174_604_259_328, 1e-3)[0].ok

    def test_a_tensor_with_its_own_equality_is_compared_by_value(self):
        class Equal(torch.Tensor):
            def __eq__(self, other):
                return torch.ones(self.shape, dtype=torch.bool)

            __hash__ = torch.Tensor.__hash__

        got = decode(encode(torch.ones(3).as_subclass(Equal)))
        assert not compare(got, torch.zeros(3), 1e-5)[0].ok


@pytest.mark.parametrize("error, told", [(3e-4, "1e-04"), (1e-12, "1e-06"), (7e20, "1e+00"), (0.0, "0")])
def test_the_size_of_a_sealed_error_carries_little(error, told):
    assert power_of_ten(error) == told


def test_a_mask_differs_in_places_and_a_number_by_two_digits():
    """And of a sealed case neither is said."""
    (mask,) = compare({"mask": torch.eye(4).bool()}, {"mask": torch.ones(4, 4).tril().bool()}, 1e-5)
    (off,) = compare({"y": torch.tensor([1.0, 2.62])}, {"y": torch.ones(2)}, 1e-5)
    assert mask.reason == "mask differs in 6 of 16 places, first at [1, 0]"
    assert off.reason == "y is off by up to 1.6 at [1]"
    for leaf, said in ((mask, "mask is off"), (off, "y is off")):
        assert sealed_words(Result("case", "values", Outcome(), [leaf], [leaf.reason])) == said


def test_a_tensor_named_twice_is_refused():
    """Else a few bytes on the wire could become any number in the grader's memory."""
    text = json.dumps({"d": {"a": {"t": 0}, "b": {"t": 0}}})
    with pytest.raises(TreeError):
        decode(safetensors.torch.save({"0": torch.ones(2)}, metadata={"tree": text}))
