"""The temperature sweep of `rubout evaluate --sweep`: its rows, its table, sweep.json."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from rubout.cli import tables
from rubout.evaluation.evaluate import reference_rows
from rubout.evaluation.sweep import (
    ORACLE_MULTIPLIERS,
    TEXT_MULTIPLIERS,
    Axis,
    SweepPoint,
    axes,
    of_training_data,
    summary,
    sweep,
)
from rubout.files import write_json
from rubout.policy import Policy
from rubout.task import Task
from rubout.training.run_folder import RunFolder

_LINE_EVERY_S = 5.0


@dataclass(frozen=True)
class Swept:
    """A sweep of several policies.

    Attributes:
        quality: what is read across.
        diversity: what is read up.
        points: of each policy, by its row's name.
    """

    quality: Axis
    diversity: Axis
    points: Mapping[str, Sequence[SweepPoint]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [
            {
                "name": name,
                "points": [point.to_json() for point in points],
                "summary": summary(points, self.quality, self.diversity),
            }
            for name, points in self.points.items()
        ]
        return {"quality": self.quality.figure, "diversity": self.diversity.figure, "rows": rows}


def run(
    policies: Mapping[str, Policy],
    task: Task,
    multipliers: Sequence[float] | None,
    num_samples: int,
    seed: int,
    *,
    references: bool,
) -> Swept:
    """Sweep policies and references over temperatures, telling how far it is.

    Args:
        policies: by the names of their rows.
        task: its test split is scored.
        multipliers: 1 / T; 1 is added. None: those of Caccia et al.
        num_samples: drawn at each temperature.
        seed: of the samples.
        references: whether the oracle, a unigram model and training data have rows; uniform actions
            are the same at every temperature.
    """
    test = task.split("test")
    if references:
        found = reference_rows(task)
        policies = {**policies, **{name: found[name] for name in found if name != "uniform"}}
    if multipliers is None:
        multipliers = TEXT_MULTIPLIERS if task.oracle() is None else ORACLE_MULTIPLIERS
    every = sorted({*multipliers, 1.0})
    quality, diversity = axes(task, test, num_samples, seed)
    points = {
        name: sweep(policy, task, test, every, num_samples, seed, _Lines(name, len(every)))
        for name, policy in policies.items()
    }
    real = of_training_data(task, task.split("test"), num_samples) if references else []
    return Swept(quality, diversity, points | ({"training data": real} if real else {}))


def write(folder: RunFolder, swept: Swept, of: Mapping[str, Any]) -> dict[str, Any]:
    """sweep.json: the points and what they are of."""
    value = {**of, **swept.to_json()}
    write_json(folder.sweep, value)
    return value


def show(swept: Swept) -> None:
    """Best values, each at a temperature of its own; both at temperature 1; the area."""
    shown = Table()
    rows = {
        name: summary(points, swept.quality, swept.diversity)
        for name, points in swept.points.items()
    }
    best = [key for key in next(iter(rows.values())) if key.startswith("best ")]
    axis_names = (swept.quality.figure, swept.diversity.figure)
    shown.add_column("")
    for heading in (*best, *(f"{name} T=1" for name in axis_names), "area"):
        shown.add_column(heading, justify="right")
    for name, found in rows.items():
        cells = [
            f"{found[key]['value']:.3f} (T={1 / found[key]['multiplier']:.2f})" for key in best
        ]
        cells += [f"{found['equal temperature'][axis]:.3f}" for axis in axis_names]
        shown.add_row(name, *cells, f"{found['area']:.3f}")
    count = len(next(iter(swept.points.values())))
    print(f"\n{count} temperatures, each the same in sampling and in scoring")
    tables.print_table(shown)
    worst = ", ".join(
        f"{axis.figure} {axis.worst:.3f}" for axis in (swept.quality, swept.diversity)
    )
    print(f"area: of what the sweep dominates, measured from {worst}; higher is better.")
    if "best sum" in best:
        print("sum: printed because papers do; its minimum is not at the truth (no proper score).")


class _Lines:
    """A line every few seconds: which temperature of which row."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count, self._next = name, count, time.monotonic() + _LINE_EVERY_S

    def __call__(self, number: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY_S
            line = f"sweep of {self._name}: {number} of {self._count} temperatures"
            print(line, file=sys.stderr, flush=True)
