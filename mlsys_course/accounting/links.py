"""The wires of the lecture notes, in one unit: bytes a second, each way."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .names import find

GB = 10**9


@dataclass(frozen=True)
class Link:
    """One wire of one GPU.

    ``each_way`` is in bytes a second in one direction, while as much may come the other way. ``quoted`` is the figure
    as makers and notes write it, which is another unit for each kind: NVLink and PCIe by the sum of both directions
    in bytes, networks by one direction in bits. The notes set 128 GB/s of PCIe 5.0 beside 400 Gb/s of InfiniBand:
    each way that is 64 against 50 GB/s.
    """

    name: str
    kind: str
    each_way: float
    quoted: str
    year: int

    def seconds(self, sent: float, received: float = 0.0) -> float:
        """Time for so many bytes out and in at once, at line rate: a lower bound, without latency."""
        return max(sent, received) / self.each_way


def _nvlink(name: str, gigabytes: int, year: int) -> Link:
    return Link(name, "NVLink", gigabytes * GB / 2, f"{gigabytes} GB/s both ways", year)


def _pcie(generation: int, gigabytes: int, year: int) -> Link:
    return Link(f"pcie{generation}", "PCIe x16", gigabytes * GB / 2, f"{gigabytes} GB/s both ways", year)


def _network(name: str, kind: str, gigabits: int, year: int) -> Link:
    return Link(name, kind, gigabits * GB / 8, f"{gigabits} Gb/s each way", year)


_WIRES = (
    _nvlink("nvlink1", 160, 2016),
    _nvlink("nvlink2", 300, 2017),
    _nvlink("nvlink3", 600, 2020),
    _nvlink("nvlink4", 900, 2022),
    _nvlink("nvlink5", 1800, 2025),
    _nvlink("nvlink6", 3600, 2026),
    _nvlink("nvlink-a800", 400, 2022),
    _nvlink("nvlink-h800", 400, 2023),
    _pcie(3, 32, 2010),
    _pcie(4, 64, 2017),
    _pcie(5, 128, 2019),
    _pcie(6, 256, 2022),
    _network("infiniband-edr", "InfiniBand", 100, 2014),
    _network("infiniband-hdr", "InfiniBand", 200, 2018),
    _network("infiniband-ndr", "InfiniBand", 400, 2022),
    _network("infiniband-xdr", "InfiniBand", 800, 2024),
    _network("ethernet-10g", "Ethernet", 10, 2002),
    _network("ethernet-25g", "Ethernet", 25, 2016),
    _network("ethernet-100g", "Ethernet", 100, 2010),
    _network("ethernet-400g", "Ethernet", 400, 2017),
)
LINKS: Mapping[str, Link] = MappingProxyType({wire.name: wire for wire in _WIRES})
NOTES_LINKS = ("nvlink3", "nvlink4", "nvlink5", "nvlink6", "pcie5", "infiniband-ndr", "ethernet-400g")


def link_named(name: str) -> Link:
    """A wire by its name, such as "infiniband-ndr"; BadSize names the nearest where there is none."""
    return find("link", name, LINKS)
