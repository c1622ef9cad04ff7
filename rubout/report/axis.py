"""Axes of options: numbers, evenly or by their logarithm, and names side by side."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rubout.report.scale import Scale
from rubout.report.settings import worded
from rubout.search import Value

_LOG_SPAN = 100.0  # two decades: beyond them, an even axis would crowd the small values
_NEAR_END = 0.13  # a tick nearer to an end, as a share of the axis, would touch its label
_PADDING = 0.5  # names stand in the middle of equal parts


@dataclass(frozen=True)
class Axis:
    """Where values of one option are, from 0 to 1.

    Attributes:
        low: the number at 0; unused where there are categories.
        high: the number at 1.
        is_log: whether equal ratios are equal distances.
        is_whole: whether there is nothing between whole numbers.
        categories: names, evenly spaced; empty: the axis is one of numbers.
    """

    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_whole: bool = False
    categories: tuple[str, ...] = ()

    @staticmethod
    def of(values: Sequence[Value], space: str = "") -> Axis:
        """An axis that holds all values, and all of the space they were drawn from.

        Args:
            values: at least one; numbers are finite.
            space: the `repr` of a domain of `rubout.search`; anything else says nothing.
        """
        kind, given = _domain(space)
        named = [value for value in values if isinstance(value, bool) or not _is_number(value)]
        if kind == "Choice" or named:
            return Axis(categories=tuple(dict.fromkeys(map(worded, [*given, *values]))))
        numbers = [float(value) for value in [*given, *values] if isinstance(value, int | float)]
        low, high = min(numbers), max(numbers)
        if low == high:
            room = abs(low) / 10 or 1.0
            return Axis(low - room, high + room)
        is_log = low > 0 and (kind == "LogUniform" or high / low > _LOG_SPAN)
        return Axis(low, high, is_log, is_whole=kind == "Integer")

    def share(self, value: Value) -> float:
        """Where a value is, from 0 to 1.

        Raises:
            ValueError: the axis does not have it.
        """
        if self.categories:
            return (self.categories.index(worded(value)) + _PADDING) / len(self.categories)
        if not isinstance(value, int | float):
            raise ValueError(f"{value!r} is no number")
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Shares and what stands there: every name, or both ends and round numbers in between."""
        if self.categories:
            return [(self.share(name), name) for name in self.categories]
        between = self._decades() if self.is_log else self._round()
        inner = [
            tick
            for tick in between
            if _NEAR_END < self.share(tick) < 1 - _NEAR_END and not (self.is_whole and tick % 1)
        ]
        return [(self.share(tick), short(tick)) for tick in (self.low, *inner, self.high)]

    def _round(self) -> list[float]:
        return Scale.around([self.low, self.high], 0, 1, ticks=4).ticks

    def _decades(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, math.ceil((last - first) / 5))
        return [10.0**power for power in range(first, last + 1, every)]


def short(value: Value) -> str:
    """A value in a few characters: a number with three digits."""
    if isinstance(value, float):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return worded(value)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float)


def _domain(space: str) -> tuple[str, list[Value]]:
    """The name of a domain and its ends or choices, from its `repr`."""
    try:
        call = ast.parse(space, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            return "", []
        given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    except (ValueError, SyntaxError):
        return "", []  # a domain of another version
    if call.func.id == "Choice":
        return "Choice", list(given.get("values", ()))
    return call.func.id, [given[end] for end in ("low", "high") if end in given]
