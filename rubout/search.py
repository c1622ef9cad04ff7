"""The contract of a search: what is tried, what is best, and when to stop a bad trial.

A search space is a Python file with one `search`:

    search = Search(
        base={"learner": "mle", "task": "python-docs", "updates": 600},
        space={"learner.lr": LogUniform(1e-4, 1e-2), "policy.hidden": Choice((64, 128))},
    )

Keys are the dotted names of `rubout train`. Nothing here needs Ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Uniform:
    """A number from low to high, all alike."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)

    def ends(self) -> tuple[Value, Value]:
        """Both ends."""
        return self.low, self.high


@dataclass(frozen=True)
class LogUniform:
    """A positive number from low to high, its logarithm uniform."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"a LogUniform begins above 0, not at {self.low}")

    def ends(self) -> tuple[Value, Value]:
        """Both ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Integer:
    """A whole number from low to high, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _ordered(self.low, self.high)

    def ends(self) -> tuple[Value, Value]:
        """Both ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise ValueError("a Choice is between two values or more")

    def ends(self) -> tuple[Value, ...]:
        """All values."""
        return self.values


Domain = Uniform | LogUniform | Integer | Choice


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: a trial goes on if it is among the best so far.

    Attributes:
        grace: evaluations that every trial has.
        factor: one in so many goes on at each rung; rungs lie at grace times its powers.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020).
    """

    grace: int = 1
    factor: int = 3


@dataclass(frozen=True)
class PopulationBased:
    """Population-based training: the worst go on from the best's checkpoint, with other options.

    Attributes:
        every: evaluations between such moments.

    Source: Jaderberg et al., "Population Based Training of Neural Networks" (2017).
    """

    every: int = 2


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        base: options of every trial, by their dotted names.
        space: what each trial draws for itself.
        metric: of the evaluations in metrics.jsonl, at the checkpoint that stands for the run.
        mode: whether the least or the greatest is best.
        scheduler: what stops bad trials; None: nothing does.
        searcher: `random`, or `optuna` (an extra): proposes by what was found so far.
        num_samples: trials.
        smoke: options of a run of seconds, instead of the base's.
    """

    base: Mapping[str, Value]
    space: Mapping[str, Domain]
    metric: str = "nll_validation"
    mode: Literal["min", "max"] = "min"
    scheduler: Asha | PopulationBased | None = field(default_factory=Asha)
    searcher: Literal["random", "optuna"] = "random"
    num_samples: int = 16
    smoke: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("a search needs something to search: its space is empty")
        if self.num_samples < 1:
            raise ValueError("num_samples must be at least 1")
        if self.searcher == "optuna" and isinstance(self.scheduler, PopulationBased):
            raise ValueError("population-based training proposes options itself: searcher random")
        fixed = RESERVED & self.space.keys()
        if fixed:
            raise ValueError(
                f"{min(fixed)} cannot be searched: it decides what a trial takes of the machine"
            )


RESERVED = frozenset(
    {
        "rollout-workers",
        "learner-workers",
        "rollout-gpus",
        "threads",
        "device",
        "address",
        "updates",
    }
    | {"rollout_workers", "learner_workers", "rollout_gpus", "init", "evaluate-every"}
)


def _ordered(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range goes from a number to a larger one, not from {low} to {high}")
