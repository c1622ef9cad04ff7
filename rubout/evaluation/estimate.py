"""How well a figure is known: standard errors, bootstrap intervals, paired differences, seeds.

A figure is a sum of ratios, each of sums over sequences: nats over actions, deletions over keys,
or plain means. Sequences are independent where actions are not, so that they are what is counted
and what is resampled.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import fmean, stdev

import torch
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 1000
_AT_ONCE = 2**22  # indices drawn at a time


@dataclass(frozen=True)
class Ratio:
    """weight * sum(totals) / sum(counts).

    Attributes:
        totals_B: float64 [B], of each sequence.
        counts_B: float64 [B], not negative; not all 0.
        weight: of this ratio in the figure.
    """

    totals_B: Tensor
    counts_B: Tensor
    weight: float = 1.0

    @property
    def value(self) -> float:
        """The ratio, weighted."""
        return self.weight * float(self.totals_B.sum()) / float(self.counts_B.sum())

    def influence(self) -> Tensor:
        """What each sequence adds, to first order, float64 [B]; its mean is 0 (delta method)."""
        ratio = self.totals_B.sum() / self.counts_B.sum()
        return self.weight * (self.totals_B - ratio * self.counts_B) / self.counts_B.mean()


@dataclass(frozen=True)
class Estimate:
    """A figure and how well it is known.

    Attributes:
        mean: of all.
        standard_error: over sequences; infinite for a single one, or where it is not known.
        count: sequences.
        samples: what it was made of, one item for every independent set of sequences, each with
            its ratios over the same sequences; empty where the figure is no such sum.
    """

    mean: float
    standard_error: float
    count: int
    samples: tuple[tuple[Ratio, ...], ...] = field(default=(), repr=False, compare=False)

    @staticmethod
    def of(*samples: tuple[Ratio, ...]) -> Estimate:
        """The sum of all ratios, those of one tuple being over the same sequences."""
        mean = sum(ratio.value for ratios in samples for ratio in ratios)
        variance = 0.0
        for ratios in samples:
            influence_B = torch.stack([ratio.influence() for ratio in ratios]).sum(0)
            size = len(influence_B)
            spread = float(influence_B.square().sum()) / (size - 1) if size > 1 else math.inf
            variance += spread / size
        return Estimate(mean, math.sqrt(variance), len(samples[0][0].totals_B), samples)

    @property
    def sizes(self) -> list[int]:
        """Sequences in each independent set."""
        return [len(ratios[0].totals_B) for ratios in self.samples]

    def interval(self, level: float = LEVEL, seed: int = 0) -> tuple[float, float]:
        """Percentile interval of the bootstrap over sequences.

        Args:
            level: the share of resampled figures within it.
            seed: of the resampling.
        """
        values = self.resampled(seed)
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.quantile(values, tails).tolist()
        return low, high

    def resampled(self, seed: int = 0) -> Tensor:
        """The figure in each of `RESAMPLES` resamples, float64."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.zeros(RESAMPLES, dtype=torch.float64)
        for ratios in self.samples:
            size = len(ratios[0].totals_B)
            rows = max(1, _AT_ONCE // size)
            for first in range(0, RESAMPLES, rows):
                some = slice(first, min(first + rows, RESAMPLES))
                drawn = torch.randint(size, (some.stop - first, size), generator=generator)
                for ratio in ratios:
                    totals, counts = ratio.totals_B[drawn].sum(1), ratio.counts_B[drawn].sum(1)
                    values[some] += ratio.weight * totals / counts
        return values

    def to_json(self, *, interval: bool = True) -> dict[str, float | int | None]:
        """Plain values, with the bootstrap interval as `low` and `high`; not finite: None."""
        error = self.standard_error if math.isfinite(self.standard_error) else None
        found: dict[str, float | int | None] = {"mean": self.mean, "standard_error": error}
        if interval and self.samples:
            found["low"], found["high"] = self.interval()
        return found | {"count": self.count}


def per_action(totals_B: Tensor, num_actions_B: Tensor) -> Estimate:
    """The mean per action of a quantity summed over each sequence.

    Args:
        totals_B: float64 [B].
        num_actions_B: int64 [B].
    """
    return Estimate.of((Ratio(totals_B.double(), num_actions_B.double()),))


def mean_of(values_B: Tensor) -> Estimate:
    """The mean of independent figures, float [B]."""
    values_B = values_B.double()
    return Estimate.of((Ratio(values_B, torch.ones_like(values_B)),))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One figure minus another, paired: both of the same sequences, in the same order.

    Raises:
        ValueError: they are of different numbers of sequences.
    """
    sizes = [[len(ratios[0].totals_B) for ratios in estimate.samples] for estimate in (one, other)]
    if sizes[0] != sizes[1] or not sizes[0]:
        raise ValueError(f"figures of {sizes[0]} and {sizes[1]} sequences cannot be paired")
    return Estimate.of(
        *(
            (*ours, *(replace(ratio, weight=-ratio.weight) for ratio in theirs))
            for ours, theirs in zip(one.samples, other.samples, strict=True)
        )
    )


@dataclass(frozen=True)
class SeedInterval:
    """A figure over runs that differ in their seed.

    Attributes:
        mean: of the runs.
        half: half the width of the interval (Student's t); None for a single run.
        count: runs.
    """

    mean: float
    half: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.half is None else f"{self.mean:.3f} ± {self.half:.3f}"


def over_seeds(values: Sequence[float], level: float = LEVEL) -> SeedInterval:
    """Mean and interval over runs; at least one."""
    count = len(values)
    if count < 2:
        return SeedInterval(values[0], None, count)
    half = student_t(count - 1, level) * stdev(values) / math.sqrt(count)
    return SeedInterval(fmean(values), half, count)


@cache
def student_t(freedom: int, level: float = LEVEL) -> float:
    """The number that |t| exceeds with probability 1 - level.

    Args:
        freedom: degrees of freedom, at least 1.
        level: between 0 and 1.

    Source: Abramowitz and Stegun (1964), 26.7.3 and 26.7.4; inverted by bisection.
    """
    low, high = 0.0, math.pi / 2  # of the angle atan(t / sqrt(freedom))
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _t_within(angle: float, freedom: int) -> float:
    """P(|t| <= sqrt(freedom) tan(angle))."""
    odd = freedom % 2
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if odd:
        term = math.cos(angle)
    for step in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (step + 1) / (step + 2)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
