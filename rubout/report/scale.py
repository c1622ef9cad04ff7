"""From numbers to places on a chart: nice axes, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """A linear axis.

    Attributes:
        low: the number at its start, a tick.
        high: the number at its end, a tick.
        step: between ticks.
        start: where `low` is, in pixels.
        end: where `high` is; less than `start` on an axis that points upwards.
    """

    low: float
    high: float
    step: float
    start: float
    end: float

    @staticmethod
    def around(values: Iterable[float], start: float, end: float, ticks: int = 5) -> Scale:
        """An axis between round numbers that holds all values.

        Args:
            values: finite, at least one.
            start: in pixels.
            end: in pixels.
            ticks: about how many.
        """
        found = list(values)
        low, high = min(found), max(found)
        span = (high - low) or abs(high) or 1.0
        size = 10.0 ** math.floor(math.log10(span / ticks))
        step = min((nice * size for nice in _NICE), key=lambda one: abs(span / one - ticks))
        first = math.floor(low / step + 1e-9)
        last = max(math.ceil(high / step - 1e-9), first + 1)
        return Scale(first * step, last * step, step, start, end)

    def __call__(self, value: float) -> float:
        """Where a number is, in pixels."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """From low to high."""
        count = round((self.high - self.low) / self.step)
        return [self.low + place * self.step for place in range(count + 1)]

    def words(self, tick: float) -> str:
        """A tick, with as many decimals as all of them need."""
        if max(abs(self.low), abs(self.high)) >= 1e7:
            return f"{tick:.3g}"
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        exact = round(self.step, decimals)
        decimals += not math.isclose(exact, self.step, rel_tol=1e-6)  # a step of 0.25
        return f"{tick + 0.0:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least a gap apart, near the wanted ones and in their order.

    Args:
        wanted: places, in any order.
        gap: between neighbours; less where there is no room for it.
        low: the least place.
        high: the greatest.
    """
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda item: wanted[item])
    runs: list[tuple[list[int], float]] = []  # labels that touch, and where the first one is
    for item in order:
        runs.append(([item], min(max(wanted[item], low), high)))
        while len(runs) > 1 and runs[-1][1] < runs[-2][1] + gap * len(runs[-2][0]):
            later, earlier = runs.pop()[0], runs.pop()[0]
            items = earlier + later
            best = sum(wanted[one] - gap * rank for rank, one in enumerate(items)) / len(items)
            runs.append((items, min(max(best, low), high - gap * (len(items) - 1))))
    places = {one: start + gap * rank for items, start in runs for rank, one in enumerate(items)}
    return [places[item] for item in range(len(wanted))]
