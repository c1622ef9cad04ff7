"""Numbers as a report shows them: a mean and its 95% interval, over seeds or over sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rubout.evaluation.estimate import over_seeds
from rubout.report.documents import Figure


@dataclass(frozen=True)
class Value:
    """A figure as a table has it.

    Attributes:
        mean: over seeds, or of the one run.
        low: end of its 95% interval; None where nothing is known of it.
        high: the other end.
        seeds: runs it is over; 1: the interval is that of the file, over sequences.
        decimals: to be shown.
        best: no other group has a better mean.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    decimals: int = 3
    best: bool = False

    @property
    def text(self) -> str:
        """The mean."""
        return number(self.mean, self.decimals)

    @property
    def interval(self) -> str:
        """`± half` over seeds, `[low, high]` over sequences, or nothing."""
        if self.low is None or self.high is None or not math.isfinite(self.mean):
            return ""
        if self.seeds > 1:
            return f"±\N{NO-BREAK SPACE}{number((self.high - self.low) / 2, self.decimals)}"
        low, high = number(self.low, self.decimals), number(self.high, self.decimals)
        return f"[{low},\N{NO-BREAK SPACE}{high}]"

    @property
    def verdict(self) -> Literal["lower", "higher", "undecided"]:
        """Of a difference: whether its interval leaves 0 out."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "undecided"
        return "lower" if self.mean < 0 else "higher"


def number(value: float, decimals: int) -> str:
    """A number with a real minus; `not finite` where it is none."""
    if not math.isfinite(value):
        return "not finite"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else text.lstrip("-")


def summarised(figures: Sequence[Figure]) -> Value | None:
    """Over seeds where there are several, else as the file has it; None for no figure."""
    if not figures:
        return None
    if len(figures) == 1:
        return Value(figures[0].mean, figures[0].low, figures[0].high, 1)
    return over_runs([figure.mean for figure in figures])


def over_runs(means: Sequence[float]) -> Value:
    """Mean and interval over runs, at least one; nothing is known where one is not finite."""
    if not all(map(math.isfinite, means)):
        return Value(math.nan, None, None, len(means))
    over = over_seeds(means)
    if over.half is None:
        return Value(over.mean, None, None, 1)
    return Value(over.mean, over.mean - over.half, over.mean + over.half, over.count)
