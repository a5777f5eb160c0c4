"""A cluster that is not there: its links, what they share, and how fast its ranks compute."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...errors import CourseProblem


@dataclass(frozen=True)
class Link:
    """n bytes take ``latency + n / bandwidth`` seconds, alpha + beta n. ``bandwidth`` is one direction's."""

    name: str
    latency: float  # seconds
    bandwidth: float  # bytes/s


# Round figures of one direction: NVLink of a Hopper GPU, PCIe 5 x16, InfiniBand NDR, 25-gigabit Ethernet with TCP.
NVLINK = Link("NVLink", 2e-6, 450e9)
PCIE = Link("PCIe", 4e-6, 64e9)
INFINIBAND = Link("InfiniBand", 5e-6, 50e9)
ETHERNET = Link("Ethernet", 30e-6, 3.125e9)


@dataclass(frozen=True)
class Port:
    """Something that serves one message at a time, in one direction."""

    name: str
    bandwidth: float  # bytes/s


@dataclass(frozen=True)
class Cluster:
    """Nodes of ``ranks_per_node`` ranks each, numbered node by node.

    Inside a node each rank has a port out and a port in, of the link ``inside``. To another node a message goes through
    a NIC of the sender's node and one of the receiver's, each of the link ``between``; the ranks of a node share its
    ``nics`` evenly. Where ``core`` is given, all messages between nodes also share a core network of so many bytes/s. A
    port serves messages one after the other, in the order in which they were sent; a message is through when the last
    of its ports has served it, and received ``latency`` later. (Real networks serve them side by side: all are through
    as late as the last one is here.) With ``fair_share`` it does so too: the messages that cross a port at the same
    time share it, max-min fairly, and those of one sender to one receiver go one after the other, as on a connection.

    A rank computes ``flops`` floating-point operations a second; 1 / ``flops`` is the gamma of the cost model. ``slow``
    gives factors by which ranks take longer to compute (stragglers), ``jitter`` the standard deviation of a random
    factor's logarithm, drawn from the seed for each stretch of computing. ``fails`` gives the second at which a rank
    falls silent.
    """

    ranks_per_node: int = 8
    inside: Link = NVLINK
    between: Link = INFINIBAND
    nics: int = 1
    core: float | None = None
    fair_share: bool = False
    flops: float = 4e14
    slow: Mapping[int, float] = field(default_factory=dict)
    jitter: float = 0.0
    fails: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.ranks_per_node < 1 or not 1 <= self.nics <= self.ranks_per_node:
            raise CourseProblem(
                f"ranks_per_node={self.ranks_per_node}, nics={self.nics}; a node has at least one rank, and 1 to that "
                "many NICs"
            )
        for name, value in {
            "flops": self.flops,
            "core": self.core,
            **{f"slow[{r}]": f for r, f in self.slow.items()},
        }.items():
            if value is not None and not value > 0:
                raise CourseProblem(f"{name}={value}; give a number above 0")
        for link in (self.inside, self.between):
            if link.latency < 0 or not link.bandwidth > 0:
                raise CourseProblem(f"{link}; a latency is at least 0 seconds, a bandwidth above 0 bytes/s")
        if self.jitter < 0 or any(when < 0 for when in self.fails.values()):
            raise CourseProblem(f"jitter={self.jitter}, fails={dict(self.fails)}; give numbers of at least 0")

    @classmethod
    def flat(cls, link: Link, **options) -> "Cluster":
        """Every rank a node of its own, with a NIC that it shares with nobody: the plain alpha-beta model."""
        return cls(ranks_per_node=1, inside=link, between=link, **options)

    def node(self, rank: int) -> int:
        """The node that a rank is in."""
        return rank // self.ranks_per_node

    def path(self, sender: int, receiver: int) -> tuple[Link, tuple[Port, ...]]:
        """The link that a message goes over, and the ports that it shares with others."""
        if self.node(sender) == self.node(receiver):
            link = self.inside
            return link, (Port(f"out of rank {sender}", link.bandwidth), Port(f"into rank {receiver}", link.bandwidth))
        link, shared = self.between, []
        for rank, way in ((sender, "out of"), (receiver, "into")):
            nic = rank % self.ranks_per_node * self.nics // self.ranks_per_node
            shared.append(Port(f"{way} node {self.node(rank)} by NIC {nic}", link.bandwidth))
        if self.core is not None:
            shared.append(Port("core", self.core))
            link = replace(link, bandwidth=min(link.bandwidth, self.core))
        return link, tuple(shared)
