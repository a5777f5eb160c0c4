"""Ways to send a gradient in fewer bytes, with one interface. What is sent are tensors, whose bytes count."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .quantize import pack_codes, quantile_levels, quantize, uniform_levels, unpack_codes
from .sparsify import densify, random_k, sparsify

Payload = tuple[Tensor, ...]


@dataclass(frozen=True)
class Compressor:
    """``encode(x, u)`` makes of n float32 entries, and as many uniforms, the tensors that are sent; ``decode(payload,
    n)`` makes n entries of them. Shapes and dtypes depend on n alone, so that a receiver can make room.

    ``unbiased``: over u, what is decoded is x on average, or to half a unit in the last place.
    """

    name: str
    encode: Callable[[Tensor, Tensor], Payload]
    decode: Callable[[Payload, int], Tensor]
    unbiased: bool

    def buffers(self, n: int) -> Payload:
        """Tensors that a message of n entries can be received in."""
        return tuple(torch.empty_like(part) for part in self.encode(torch.zeros(n), torch.zeros(n)))


def bytes_sent(payload: Payload) -> int:
    """What really goes over the wire: codes, and scales, indices or levels with them."""
    return sum(part.numel() * part.element_size() for part in payload)


def none() -> Compressor:
    """Float32, as they are."""
    return Compressor("none", lambda x, u: (x.clone(),), lambda payload, n: payload[0].clone(), True)


def fp16() -> Compressor:
    """Half precision: 2 bytes an entry. Entries beyond 65,504 are cut to that."""
    most = torch.finfo(torch.float16).max
    return Compressor("fp16", lambda x, u: (x.clamp(-most, most).half(),), lambda payload, n: payload[0].float(), False)


def top_k(share: float) -> Compressor:
    """The ``share`` of entries that is largest in magnitude, at least one: 8 bytes each, value and place."""

    def encode(x: Tensor, u: Tensor) -> Payload:
        values, indices, _ = sparsify(x, torch.zeros_like(x), _count(share, len(x)))
        return values, indices.int()

    return Compressor(f"top-k {share:.0%}", encode, _densified, False)


def random_sparsifier(share: float) -> Compressor:
    """As many entries drawn at random, scaled up."""

    def encode(x: Tensor, u: Tensor) -> Payload:
        values, indices = random_k(x, _count(share, len(x)), u)
        return values, indices.int()

    return Compressor(f"random-k {share:.0%}", encode, _densified, True)


def _count(share: float, n: int) -> int:
    return max(round(share * n), min(n, 1))


def _densified(payload: Payload, n: int) -> Tensor:
    return densify(payload[0], payload[1].long(), (n,))


def qsgd(bits: int, bucket: int = 256) -> Compressor:
    """2**bits - 1 even levels within a bucket's Euclidean norm, random rounding (Alistarh et al. 2017)."""
    levels = uniform_levels(2**bits - 1)
    return _scaled(f"QSGD {bits} bits", bits, levels, lambda rows: rows.norm(dim=1), bucket, True)


def ternary(bucket: int = 256) -> Compressor:
    """-1, 0 or 1 times a bucket's largest magnitude, random rounding: 2 bits (Wen et al. 2017, "TernGrad")."""
    return _scaled("ternary", 2, uniform_levels(3), lambda rows: rows.abs().amax(1), bucket, True)


def uniform_8bit(bucket: int = 256) -> Compressor:
    """255 even levels within a bucket's largest magnitude, rounding to the nearest: 1 byte (Dettmers 2016)."""
    return _scaled("uniform 8 bits", 8, uniform_levels(255), lambda rows: rows.abs().amax(1), bucket, False)


def _scaled(
    name: str, bits: int, levels: Tensor, scale_of: Callable[[Tensor], Tensor], bucket: int, drawn: bool
) -> Compressor:
    """Buckets of so many entries have a scale each, a float32; within it, entries are one of ``levels``."""

    def in_buckets(x: Tensor) -> Tensor:  # (buckets, bucket), the last filled up with zeros
        return torch.nn.functional.pad(x, (0, -len(x) % bucket)).view(-1, bucket)

    def encode(x: Tensor, u: Tensor) -> Payload:
        rows = in_buckets(x)
        scale = scale_of(rows)
        shares = (rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).reshape(-1)[: len(x)]
        return pack_codes(quantize(shares, levels, u if drawn else 0.5), bits), scale

    def decode(payload: Payload, n: int) -> Tensor:
        packed, scale = payload
        rows = in_buckets(levels[unpack_codes(packed, bits, n)])
        return (rows * scale[:, None]).reshape(-1)[:n]

    return Compressor(name, encode, decode, drawn)


def sign(scaled: bool = True) -> Compressor:
    """One bit an entry; zero counts as positive. ``scaled`` by the mean magnitude, else plus or minus one.

    Source: Bernstein et al. 2018, "signSGD"; Karimireddy et al. 2019, "Error feedback fixes SignSGD".
    """

    def encode(x: Tensor, u: Tensor) -> Payload:
        bits = pack_codes((x >= 0).long(), 1)
        return (bits, x.abs().mean().nan_to_num()[None]) if scaled else (bits,)

    def decode(payload: Payload, n: int) -> Tensor:
        signs = 2.0 * unpack_codes(payload[0], 1, n) - 1
        return signs * payload[1] if scaled else signs

    return Compressor("sign, scaled" if scaled else "sign", encode, decode, False)


def quantile(bits: int) -> Compressor:
    """2**bits levels at the quantiles of the values, random rounding; the levels are sent along."""

    def encode(x: Tensor, u: Tensor) -> Payload:
        table = torch.zeros(2**bits)
        if not len(x):
            return pack_codes(x.long(), bits), table
        levels = quantile_levels(x, 2**bits)
        table[: len(levels)] = levels
        return pack_codes(quantize(x, levels, u), bits), table

    def decode(payload: Payload, n: int) -> Tensor:
        return payload[1][unpack_codes(payload[0], bits, n)]

    return Compressor(f"quantiles {bits} bits", encode, decode, True)


def all_compressors() -> list[Compressor]:
    """One of each, as the lab and the benchmark compare them."""
    return [
        none(), fp16(), uniform_8bit(), qsgd(4), quantile(4), ternary(), sign(), sign(scaled=False), top_k(0.01),
        random_sparsifier(0.01),
    ]  # fmt: skip
