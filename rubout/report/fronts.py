"""Quality-diversity fronts: what sweep.json says of the policies at many temperatures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubout.evaluation.titles import title_of
from rubout.report.chart import Line, Panel
from rubout.report.documents import Sweep, SweepRow
from rubout.report.groups import Comparison, Group
from rubout.report.results import MODEL, REFERENCES
from rubout.report.values import Value, number, over_runs

_MOST_POINTS = 100


@dataclass(frozen=True)
class Best:
    """A number of a summary over seeds, and the temperatures it is at, in words or empty."""

    value: Value
    at: str


@dataclass(frozen=True)
class Front:
    """One pair of axes.

    Attributes:
        panel: the chart.
        columns: of the summaries' table.
        rows: label, style and cells of every policy; a cell is None where the file has nothing.
    """

    panel: Panel
    columns: tuple[str, ...]
    rows: tuple[tuple[str, int | None, tuple[Best | None, ...]], ...]


@dataclass(frozen=True)
class Fronts:
    """All fronts of a task, and what they leave out."""

    fronts: tuple[Front, ...]
    notes: tuple[str, ...]


def fronts(comparison: Comparison) -> Fronts:
    """Fronts of all runs that were swept, those on other axes apart."""
    swept = [(group, run.sweep) for group in comparison.groups for run in group.runs if run.sweep]
    axes = list(dict.fromkeys((sweep.quality, sweep.diversity) for _, sweep in swept))
    found = [front for pair in axes if (front := _front(comparison, *pair))]
    without = [
        f"{group.label}, seed {run.config.seed}"
        for group in comparison.groups
        for run in group.runs
        if run.sweep is None
    ]
    notes = []
    if without:
        who = "; ".join(without) if swept else "every run"
        notes.append(f"Without sweep.json (rubout evaluate RUN --sweep makes it): {who}.")
    if len(found) < len(axes):
        notes.append("A sweep has no finite point on its axes and is not drawn.")
    return Fronts(tuple(found), tuple(notes))


def _front(comparison: Comparison, quality: str, diversity: str) -> Front | None:
    """All policies on two axes; None where there is no point."""
    lines: dict[str, Line] = {}
    rows: dict[str, tuple[int | None, list[SweepRow]]] = {}
    for group in comparison.groups:
        found = [
            sweep.rows[MODEL] for sweep in _sweeps(group, quality, diversity) if MODEL in sweep.rows
        ]
        if found:
            rows[group.label] = (group.style, found)
    for label, row in _others(comparison, quality, diversity):
        rows.setdefault(label, (None, [row]))
    for label, (style, found) in rows.items():
        lines[label] = _line([_places(row, quality, diversity) for row in found], style)
    panel = Panel(_axis("diversity", diversity), lines, across=_axis("quality", quality))
    if not panel.drawn:
        return None
    columns = list(
        dict.fromkeys(
            name for _, found in rows.values() for row in found for name in _summary(row.summary)
        )
    )
    return Front(
        panel,
        tuple(map(_column, columns)),
        tuple(
            (label, style, tuple(_cell(found, name) for name in columns))
            for label, (style, found) in rows.items()
        ),
    )


def _sweeps(group: Group, quality: str, diversity: str) -> list[Sweep]:
    swept = [run.sweep for run in group.runs if run.sweep]
    return [sweep for sweep in swept if (sweep.quality, sweep.diversity) == (quality, diversity)]


def _others(comparison: Comparison, quality: str, diversity: str) -> Iterator[tuple[str, SweepRow]]:
    """References, and runs that were compared with, references last."""
    found: dict[str, SweepRow] = {}
    for group in comparison.groups:
        for sweep in _sweeps(group, quality, diversity):
            for label, row in sweep.rows.items():
                if label != MODEL:
                    found.setdefault(label, row)
    yield from sorted(found.items(), key=lambda item: item[0] in REFERENCES)


def _places(row: SweepRow, quality: str, diversity: str) -> dict[float, tuple[float, float]]:
    """Quality and diversity by multiplier, where both are finite, by rising multiplier."""
    places = {}
    for point in sorted(row.points, key=lambda one: one.multiplier):
        if quality in point.figures and diversity in point.figures:
            place = (point.figures[quality].mean, point.figures[diversity].mean)
            if all(map(math.isfinite, place)):
                places[point.multiplier] = place
    return places


def _line(found: Sequence[Mapping[float, tuple[float, float]]], style: int | None) -> Line:
    """The mean over seeds at each multiplier that all have, and each seed, thin."""
    shared = [one for one in found[0] if all(one in places for places in found)]
    mean = {
        one: (
            over_runs([places[one][0] for places in found]).mean,
            over_runs([places[one][1] for places in found]).mean,
        )
        for one in shared
    }
    every = math.ceil(len(mean) / _MOST_POINTS) or 1
    return Line(
        points=list(mean.values())[::every],
        thin=[list(places.values())[::every] for places in found] if len(found) > 1 else (),
        style=style,
        rings=[mean[1.0]] if 1.0 in mean else (),
    )


def _axis(role: str, figure: str) -> str:
    """`quality: NLL oracle (lower is better)`."""
    title = title_of(figure)
    better = f" ({title.direction})" if title.direction else ""
    return f"{role}: {title.words}{better}"


def _summary(summary: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[float, float | None]]:
    """Every number of a summary with the multiplier it is at, if it is at one."""
    found: dict[str, tuple[float, float | None]] = {}
    for name, value in summary.items():
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float):
            found[f"{prefix}{name}"] = (float(value), None)
        elif isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
            at = value.get("multiplier")
            number_at = float(at) if isinstance(at, int | float) else None
            found[f"{prefix}{name}"] = (float(value["value"]), number_at)
        elif isinstance(value, Mapping):
            found |= _summary(value, f"{prefix}{name}: ")
    return found


def _column(name: str) -> str:
    """A summary's name with its figures called by their titles."""
    return " ".join(title_of(word).words for word in name.replace(": ", " : ").split()).replace(
        " : ", ": "
    )


def _cell(found: Sequence[SweepRow], name: str) -> Best | None:
    """A number of the summaries of a policy's runs; None where none has it."""
    values = [item for row in found if (item := _summary(row.summary).get(name)) is not None]
    if not values:
        return None
    at = sorted({1 / multiplier for _, multiplier in values if multiplier})
    ends = dict.fromkeys(number(one, 2) for one in (*at[:1], *at[-1:]))
    return Best(over_runs([value for value, _ in values]), " to ".join(ends))
