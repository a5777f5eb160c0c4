"""What every account returns: named terms in order, what they count, and by which convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "oo")  # so that segments differ by more than colour


def term_of(name: str) -> str:
    """What stands before the first dot: "attention.scores" belongs to "attention"."""
    return name.partition(".")[0]


def short(number: float) -> str:
    """A number to read: 6738415616 is "6.74 G"."""
    for scale, prefix in SCALES:
        if abs(number) >= 0.9995 * scale:  # three digits of it would read 1000 of the smaller unit
            return f"{number / scale:.3g} {prefix}"
    return f"{number:.3g}"


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, int]):
    """An ordered mapping from a term's name to its count; ``total`` is their sum and no term itself.

    ``quantity`` says what is counted ("parameters", "FLOPs", "bytes"), ``convention`` what is in and what is left out.
    Equal to any mapping with the same terms and counts.
    """

    quantity: str
    terms: Mapping[str, int]
    convention: str = ""

    def __getitem__(self, name: str) -> int:
        return self.terms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def total(self) -> int:
        """The sum of all terms."""
        return sum(self.terms.values())

    def shares(self) -> dict[str, float]:
        """Each term as a fraction of the total; all 0 where the total is."""
        total = self.total or 1
        return {name: count / total for name, count in self.items()}

    def to_dict(self) -> dict[str, int]:
        """The terms, and their ``total`` last."""
        return {**self.terms, "total": self.total}

    def grouped(self, by: Callable[[str], str] = term_of) -> Table:
        """Terms that ``by`` gives one name are added up; in the order in which the names come first."""
        sums: dict[str, int] = {}
        for name, count in self.items():
            sums[by(name)] = sums.get(by(name), 0) + count
        return Table(self.quantity, sums, self.convention)

    def scaled(self, factor: int) -> Table:
        """Every term ``factor`` times."""
        return Table(self.quantity, {name: count * factor for name, count in self.items()}, self.convention)

    def __str__(self) -> str:
        width = max(map(len, [*self.terms, "total"]))
        rows = [f"{name:{width}}  {count:>24,}  {short(count):>8}  {self.shares().get(name, 1):7.2%}"
                for name, count in self.to_dict().items()]  # fmt: skip
        return "\n".join([self.quantity, *rows, *([self.convention] if self.convention else [])])

    def picture(
        self, line: float | None = None, line_label: str = "", *, unit: float = 1e9, unit_name: str = "G"
    ) -> Figure:
        """A horizontal bar of the terms end to end, with a dashed ``line`` such as a card's memory."""
        from ..substrate.plot import COLOURS, figure

        fig, (ax,) = figure(width=7.5, height=2.6)
        left = 0.0
        for n, (name, count) in enumerate(item for item in self.items() if item[1]):
            colour, hatch = COLOURS[n % len(COLOURS)], HATCHES[n // len(COLOURS) % len(HATCHES)]
            ax.barh([""], [count / unit], left=left, label=name, color=colour, hatch=hatch, edgecolor="white")
            left += count / unit
        if line is not None:
            ax.axvline(line / unit, color="black", linestyle="--", label=line_label or None)
        ax.set(xlabel=f"{self.quantity} ({unit_name})")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
        return fig
