"""Learning curves: what metrics.jsonl says, one line a group, a band over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rubout.evaluation.titles import title_of
from rubout.report.chart import Line, Panel
from rubout.report.groups import Comparison
from rubout.report.material import Run
from rubout.report.values import over_runs

_MOST_POINTS = 150  # of a line: more are less than a pixel apart
_MOST_PANELS = 12
_OF_EVERY_LINE = frozenset({"update", "kind", "time"})

Curve = Mapping[int, float]


@dataclass(frozen=True)
class Curves:
    """Charts of one task, and what they leave out."""

    panels: tuple[Panel, ...]
    notes: tuple[str, ...]


def curves(comparison: Comparison) -> Curves:
    """The loss while training, and every figure of the evaluations in between.

    Args:
        comparison: groups on one task.
    """
    panels, notes = [], []
    names = list(dict.fromkeys(_names(comparison)))
    for name in names[:_MOST_PANELS]:
        lines, without, infinite = {}, [], 0
        for group in comparison.groups:
            found = [curve_of(run, name) for run in group.runs]
            infinite += sum(not math.isfinite(y) for curve in found for y in curve.values())
            line = line_of([_finite(curve) for curve in found], group.style)
            if line.all_points:
                lines[group.label] = line
            else:
                without.append(group.label)
        title = title_of(name)
        if lines:
            better = f" ({title.direction})" if title.direction else ""
            panels.append(Panel(f"{title.words}{better}", lines))
        if without:
            notes.append(f"No {title.words} in metrics.jsonl: {', '.join(without)}.")
        if infinite:
            notes.append(f"{title.words}: {infinite:,} values are not finite and are not drawn.")
    if len(names) > _MOST_PANELS:
        notes.append(f"Not drawn: {', '.join(names[_MOST_PANELS:])}.")
    notes += [
        f"{group.label}, seed {run.config.seed}, has no metrics.jsonl, or an empty one."
        for group in comparison.groups
        for run in group.runs
        if not run.metrics
    ]
    return Curves(tuple(panels), tuple(notes))


def curve_of(run: Run, name: str) -> Curve:
    """A figure by update; the loss is that of training, all else that of evaluations."""
    kind = "train" if name == "loss" else "evaluation"
    found = {}
    for record in run.metrics:
        value = record.get(name)
        if record.get("kind") == kind and isinstance(value, int | float):
            found[int(record["update"])] = float(value)
    return found


def line_of(found: Sequence[Curve], style: int) -> Line:
    """The mean over runs where all of them have a value; what some have beyond it, thin.

    Args:
        found: a figure by update, of each run, finite.
        style: of the group.
    """
    kept = [curve for curve in found if curve]
    shared = sorted(set.intersection(*map(set, kept))) if kept else []
    shared = thinned(shared)
    if len(kept) == 1:
        return Line([(update, kept[0][update]) for update in shared], style=style)
    over = {update: over_runs([curve[update] for curve in kept]) for update in shared}
    end = shared[-1] if shared else -math.inf
    beyond = [[update for update in sorted(curve) if update >= end] for curve in kept]
    return Line(
        points=[(update, value.mean) for update, value in over.items()],
        band=[
            (update, value.low, value.high)
            for update, value in over.items()
            if value.low is not None and value.high is not None
        ],
        thin=[
            [(update, curve[update]) for update in thinned(updates)]
            for curve, updates in zip(kept, beyond, strict=True)
            if len(updates) > 1
        ],
        style=style,
    )


def thinned(updates: Sequence[int]) -> list[int]:
    """At most some of them, evenly, the last among them."""
    every = math.ceil(len(updates) / _MOST_POINTS)
    return list(updates[::-1][::every][::-1]) if every > 1 else list(updates)


def _finite(curve: Curve) -> Curve:
    return {update: value for update, value in curve.items() if math.isfinite(value)}


def _names(comparison: Comparison) -> Iterator[str]:
    """The loss first, with repetitions."""
    records = [
        record for group in comparison.groups for run in group.runs for record in run.metrics
    ]
    if any("loss" in record for record in records):
        yield "loss"
    for record in records:
        if record.get("kind") == "evaluation":
            yield from (name for name in record if name not in _OF_EVERY_LINE)
