"""What stands on the page of a search, section by section, before it is HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rubout.evaluation.titles import title_of
from rubout.report.axis import Axis, short
from rubout.report.curves import thinned
from rubout.report.looks import looks
from rubout.report.parallel import Layout, Parallel, Strand
from rubout.report.pareto import charts
from rubout.report.plane import Curve, Dot, Plane
from rubout.report.settings import worded
from rubout.report.trials import SearchFolder, score
from rubout.report.values import number
from rubout.report.view import NOTHING
from rubout.tuning.results import Trial

_METRIC = " metric"  # no option has a name that begins with a space
_DECIMALS = 3


@dataclass(frozen=True)
class TrialRow:
    """One trial of the table: how its line looks, and the cells."""

    number: str
    kind: str
    cells: tuple[str, ...]
    status: str


@dataclass(frozen=True)
class SearchView:
    """All that is shown of a search.

    Attributes:
        folder: whose it is.
        title: what was searched.
        headline: the best, in words.
        extent: how many trials came to what end.
        columns: of the trials' table, as they are called.
        rows: best first.
        notes: what went wrong, or is not there.
        parallel: None where no trial has a figure.
        layouts: of the chart, for wide pages and narrow ones.
        curves: None where no trial has any.
        fronts: of quality and diversity; empty where no trial has both.
        given: options of every trial, in words.
    """

    folder: SearchFolder
    title: str
    headline: str
    extent: str
    columns: tuple[str, ...]
    rows: tuple[TrialRow, ...]
    notes: tuple[str, ...]
    parallel: Parallel | None
    layouts: tuple[Layout, ...]
    curves: Plane | None
    fronts: tuple[Plane, ...]
    given: tuple[tuple[str, str], ...]

    @staticmethod
    def of(found: SearchFolder) -> SearchView:
        """Of a folder."""
        names = shortened(list(found.space))
        figures = list(
            dict.fromkeys(name for trial in found.trials for name in trial.figures or ())
        )
        titles = [title_of(name).words for name in figures]
        axes = len(found.space) + 1
        return SearchView(
            folder=found,
            title=f"{_stem(found.name)}: a search over {_counted(len(found.space), 'option')}",
            headline=headline(found),
            extent=extent(found.trials),
            columns=(*names, *titles, "at update", "of updates"),
            rows=_rows(found, figures),
            notes=tuple(_notes(found)),
            parallel=parallel(found),
            layouts=(Layout.upright(axes), Layout.stacked(axes)),
            curves=curves(found),
            fronts=tuple(charts(found)),
            given=tuple((name, worded(value)) for name, value in found.base.items()),
        )


def headline(found: SearchFolder) -> str:
    """The best trial, and what it drew."""
    if found.best is None:
        return "No trial has a figure: there is no best one."
    best, metric = found.trials[0], title_of(found.metric).words
    names = shortened(list(best.sample))
    drawn = ", ".join(
        f"{name} {short(value)}" for name, value in zip(names, best.sample.values(), strict=True)
    )
    value = number(found.scored[0].figures[found.metric], _DECIMALS)  # type: ignore[index]
    return (
        f"Trial {best.number} is the best of {len(found.trials)}: {metric} {value} "
        f"at update {best.update:,}, with {drawn}."
    )


def extent(trials: Sequence[Trial]) -> str:
    """How many trials came to what end."""
    counts = Counter[str](trial.status for trial in trials)
    ends = [
        f"{counts[status]} {words}"
        for status, words in (
            ("whole", "whole"),
            ("stopped", "stopped early"),
            ("failed", "failed"),
            ("unfinished", "unfinished"),
        )
        if counts[status]
    ]
    return f"{_counted(len(trials), 'trial')}{': ' if ends else ''}{', '.join(ends)}."


def parallel(found: SearchFolder) -> Parallel | None:
    """The chart of what every trial drew, and what came of it; None where no trial has a figure."""
    axes, titles = {}, {}
    for name, title in zip(found.space, shortened(list(found.space)), strict=True):
        drawn = [trial.sample[name] for trial in found.trials if name in trial.sample]
        if drawn:
            axes[name], titles[name] = Axis.of(drawn, found.space[name]), title
    scores = {trial.number: score(trial, found.metric) for trial in found.scored}
    if not (scores and axes):
        return None
    axes[_METRIC], titles[_METRIC] = Axis.of(list(scores.values())), title_of(found.metric).words
    drawn_as = looks(found)
    samples = {trial.number: trial.sample for trial in found.trials}
    return Parallel(
        axes,
        titles,
        [
            Strand(
                {name: value for name, value in samples[one].items() if name in axes}
                | ({_METRIC: scores[one]} if one in scores else {}),
                look,
            )
            for one, look in drawn_as.items()
        ],
    )


def curves(found: SearchFolder) -> Plane | None:
    """The metric of all trials while they trained."""
    drawn_as = looks(found)
    drawn = [
        Curve(
            [(update, found.curves[one][update]) for update in thinned(sorted(found.curves[one]))],
            look,
        )
        for one, look in drawn_as.items()
        if one in found.curves
    ]
    if not drawn:
        return None
    title = title_of(found.metric)
    better = "lower is better" if found.mode == "min" else "higher is better"
    dots = [
        Dot((trial.update, value), drawn_as[trial.number], radius=3)
        for trial in reversed(found.scored)
        if (value := score(trial, found.metric)) is not None
    ]
    ends = [f"{curve.look.words}, at last {curve.points[-1][1]:.4g}" for curve in drawn[-1:]]
    said = f"{_counted(len(drawn), 'line')}. The one in front: {ends[0]}."
    return Plane(f"{title.words} ({better})", "update", said, curves=drawn, dots=dots)


def shortened(names: Sequence[str]) -> list[str]:
    """Names of options without the part before the dot, where that leaves them apart."""
    last = [name.rpartition(".")[2] for name in names]
    counts = Counter(last)
    return [one if counts[one] == 1 else name for one, name in zip(last, names, strict=True)]


def _rows(found: SearchFolder, figures: Sequence[str]) -> tuple[TrialRow, ...]:
    drawn_as = looks(found)
    return tuple(
        TrialRow(
            number=trial.number,
            kind=drawn_as[trial.number].kind,
            cells=(
                *(
                    short(trial.sample[name]) if name in trial.sample else NOTHING
                    for name in found.space
                ),
                *(_figure(trial, name) for name in figures),
                f"{trial.update:,}",
                f"{trial.updates:,}",
            ),
            status="best" if drawn_as[trial.number].is_best else trial.status,
        )
        for trial in found.trials
    )


def _figure(trial: Trial, name: str) -> str:
    value = (trial.figures or {}).get(name)
    return NOTHING if value is None else number(value, _DECIMALS)


def _notes(found: SearchFolder) -> list[str]:
    failed = [trial for trial in found.trials if trial.status == "failed"]
    notes = [f"Trial {trial.number} failed: {trial.error or 'it left no line'}" for trial in failed]
    without = [
        trial.number
        for trial in found.trials
        if trial.status != "failed" and score(trial, found.metric) is None
    ]
    if without:
        notes.append(f"No {title_of(found.metric).words}: {', '.join(without)}.")
    return notes


def _stem(name: str) -> str:
    """What a search is called: its file or module without what is around it."""
    return Path(name).stem.rpartition(".")[2] or name


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
