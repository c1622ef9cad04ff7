"""Tables of figures over seeds, their paired differences, and what is missing from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rubout.evaluation import backspaces, quality
from rubout.evaluation.titles import Title, title_of
from rubout.report.documents import Figure
from rubout.report.groups import Comparison, Group
from rubout.report.material import Run
from rubout.report.values import Value, summarised

Kind = Literal["group", "baseline", "reference"]
REFERENCES = ("training data", "oracle", "unigram", "uniform")
MODEL = "model"


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        label: who.
        kind: a group of the report, a run one of them was compared with, or a reference.
        counted: seeds, in words.
        style: of a group, in charts.
        values: one a column, None where there is none.
    """

    label: str
    kind: Kind
    counted: str
    style: int | None
    values: tuple[Value | None, ...]


@dataclass(frozen=True)
class Table:
    """Figures across, policies down."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def titles(self) -> tuple[Title, ...]:
        """Of the columns."""
        return tuple(map(title_of, self.names))

    def value(self, label: str, name: str) -> Value | None:
        """What stands in a row's column."""
        row = next(row for row in self.rows if row.label == label)
        return row.values[self.names.index(name)]


def tables(comparison: Comparison) -> dict[str, Table]:
    """What evaluation.json says: by what they are of, those every policy has before others."""
    names = list(dict.fromkeys(_names(comparison)))
    apart = {
        "Figures of the backspace": frozenset(backspaces.TITLES),
        "Figures of samples": frozenset(quality.NAMES),
    }
    parts = {
        "Figures": [name for name in names if not any(name in part for part in apart.values())]
    }
    parts |= {heading: [name for name in names if name in part] for heading, part in apart.items()}
    found = {}
    for heading, columns in parts.items():
        rows = [row for row in _rows(comparison, columns) if any(row.values)]
        if rows:
            found[heading] = _finished(Table(tuple(columns), tuple(rows)))
    return found


def differences(comparison: Comparison, baseline: Group | None) -> Table | None:
    """Every group minus the baseline, seed by seed, where two seeds or more are in both."""
    rows = []
    names = list(dict.fromkeys(_names(comparison)))
    for group in comparison.groups if baseline else ():
        if group is baseline or baseline is None:
            continue
        values = tuple(paired(group, baseline, name) for name in names)
        if any(values):
            seeds = max(value.seeds for value in values if value is not None)
            rows.append(Row(group.label, "group", f"{seeds} seeds", group.style, values))
    if not rows:
        return None
    kept = [place for place in range(len(names)) if any(row.values[place] for row in rows)]
    rows = [replace(row, values=tuple(row.values[place] for place in kept)) for row in rows]
    return _with_decimals(Table(tuple(names[place] for place in kept), tuple(rows)))


def missing(comparison: Comparison) -> list[str]:
    """What the tables cannot show, a line each."""
    lines = [
        f"{named(run, group)} has no evaluation.json: it stands at update {run.update:,} of "
        f"{run.config.updates:,}."
        for group, run in _runs(comparison)
        if run.evaluation is None
    ]
    for group, run in _runs(comparison):
        if run.evaluation is not None and MODEL not in run.evaluation.rows:
            lines.append(f"{named(run, group)} has no row of the model in its evaluation.json.")
        for name, figure in _model(run).items():
            if not math.isfinite(figure.mean):
                lines.append(f"{title_of(name).words} of {named(run, group)} is not finite.")
    return lines


def conditions(comparison: Comparison) -> str:
    """How the figures were made; several ways, where the files differ."""
    found = [run.evaluation for _, run in _runs(comparison) if run.evaluation is not None]
    samples = sorted({one.num_samples for one in found})
    temperatures = sorted({one.temperature for one in found})
    if not found:
        return ""
    return (
        f"{' or '.join(f'{count:,}' for count in samples)} samples, "
        f"temperature {' or '.join(f'{one:g}' for one in temperatures)}"
    )


def named(run: Run, group: Group) -> str:
    """A run of a group, in words."""
    return f"{group.label}, seed {run.config.seed},"


def _runs(comparison: Comparison) -> Iterator[tuple[Group, Run]]:
    for group in comparison.groups:
        for run in group.runs:
            yield group, run


def _model(run: Run) -> dict[str, Figure]:
    return {} if run.evaluation is None else dict(run.evaluation.rows.get(MODEL, {}))


def _names(comparison: Comparison) -> Iterator[str]:
    """Figures, as files name them, in their order, with repetitions."""
    for _, run in _runs(comparison):
        for row in run.evaluation.rows.values() if run.evaluation else ():
            yield from row


def of_group(group: Group, name: str) -> Value | None:
    """A figure of a group's model; None where no run has it."""
    found = [_model(run) for run in group.runs]
    return summarised([figures[name] for figures in found if name in figures])


def _rows(comparison: Comparison, names: Sequence[str]) -> list[Row]:
    """Groups, then the runs that some were compared with, then references."""
    rows = [
        Row(
            group.label,
            "group",
            group.counted,
            group.style,
            tuple(of_group(group, name) for name in names),
        )
        for group in comparison.groups
    ]
    others: dict[str, dict[str, Figure]] = {}
    for _, run in _runs(comparison):
        for label, figures in run.evaluation.rows.items() if run.evaluation else ():
            if label != MODEL:
                others.setdefault(label, dict(figures))
    for label in sorted(others, key=_place_of):
        values = tuple(summarised([others[label][n]] if n in others[label] else []) for n in names)
        kind: Kind = "reference" if label in REFERENCES else "baseline"
        rows.append(Row(label, kind, kind, None, values))
    return rows


def _place_of(label: str) -> int:
    """Baselines first, references in their order."""
    return REFERENCES.index(label) if label in REFERENCES else -1


def references(comparison: Comparison, name: str) -> dict[str, Value]:
    """A figure of the reference rows, by their names."""
    rows = [row for row in _rows(comparison, [name]) if row.kind == "reference"]
    return {row.label: value for row in rows if (value := row.values[0]) is not None}


def paired(group: Group, baseline: Group, name: str) -> Value | None:
    """A figure of one group minus another's, seed by seed; None for fewer than two seeds."""
    ours = {run.config.seed: _model(run).get(name) for run in group.runs}
    theirs = {run.config.seed: _model(run).get(name) for run in baseline.runs}
    gaps = [
        one.mean - other.mean
        for seed, one in ours.items()
        if one is not None and (other := theirs.get(seed)) is not None
    ]
    if len(gaps) < 2 or not all(map(math.isfinite, gaps)):
        return None
    return summarised([Figure(gap) for gap in gaps])


def _finished(table: Table) -> Table:
    """With decimals, and the best of each column."""
    table = _with_decimals(table)
    best = {}
    for place, title in enumerate(table.titles):
        means = [
            value.mean
            for row in table.rows
            if row.kind == "group" and (value := row.values[place]) and math.isfinite(value.mean)
        ]
        if title.better in ("low", "high") and len(means) > 1:
            best[place] = min(means) if title.better == "low" else max(means)
    return replace(
        table,
        rows=tuple(
            replace(
                row,
                values=tuple(
                    value and replace(value, best=value.mean == best.get(place))
                    for place, value in enumerate(row.values)
                ),
            )
            if row.kind == "group"
            else row
            for row in table.rows
        ),
    )


def _with_decimals(table: Table) -> Table:
    """As many in a column as its largest number bears."""
    decimals = []
    for place in range(len(table.names)):
        found = [abs(value.mean) for row in table.rows if (value := row.values[place])]
        largest = max(filter(math.isfinite, found), default=1.0)
        decimals.append(1 if largest >= 100 else 3 if largest >= 0.1 else 4)
    rows = tuple(
        replace(
            row,
            values=tuple(
                value and replace(value, decimals=count)
                for value, count in zip(row.values, decimals, strict=True)
            ),
        )
        for row in table.rows
    )
    return replace(table, rows=rows)
