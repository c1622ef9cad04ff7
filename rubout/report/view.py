"""What stands on the page, section by section, before it is HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rubout.evaluation.titles import Title
from rubout.report.curves import Curves, curves
from rubout.report.fronts import Fronts, fronts
from rubout.report.groups import Comparison, Group
from rubout.report.material import Run
from rubout.report.results import Table, conditions, differences, missing, tables
from rubout.report.samples import Sample
from rubout.report.settings import differing, worded
from rubout.report.verdict import headline

NOTHING = "\N{EN DASH}"
_MOST_SAMPLES = 60  # on the page, but two a group


@dataclass(frozen=True)
class TaskView:
    """All that is compared on one task.

    Attributes:
        comparison: whose it is.
        headline: the main result; None without figures.
        tables: of figures, by what they are.
        differences: to the baseline; None where nothing is paired.
        baseline: its label.
        notes: what the tables leave out.
        curves: of learning.
        fronts: of quality and diversity.
    """

    comparison: Comparison
    headline: str | None
    tables: Mapping[str, Table]
    differences: Table | None
    baseline: str
    notes: tuple[str, ...]
    curves: Curves
    fronts: Fronts

    @staticmethod
    def of(comparison: Comparison, wanted: str | None) -> TaskView:
        """Of groups on one task; `wanted` as in `Comparison.baseline`."""
        baseline = comparison.baseline(wanted)
        return TaskView(
            comparison=comparison,
            headline=headline(comparison),
            tables=tables(comparison),
            differences=differences(comparison, baseline),
            baseline=baseline.label if baseline else "",
            notes=tuple(missing(comparison)),
            curves=curves(comparison),
            fronts=fronts(comparison),
        )

    @property
    def caption(self) -> str:
        """What the numbers of the tables are."""
        seeds = (
            "Mean ± half a 95% interval over seeds (Student's t); for a single run "
            "[low, high] of the bootstrap over sequences."
        )
        bold = " Bold: the best mean of the learners." if len(self.comparison.groups) > 1 else ""
        how = conditions(self.comparison)
        return f"{seeds}{bold} {how[:1].upper()}{how[1:]}.".replace(" .", "")

    @property
    def meanings(self) -> list[Title]:
        """Of the figures in the tables, where there is more to say than a title."""
        titles = (title for table in self.tables.values() for title in table.titles)
        return [title for title in dict.fromkeys(titles) if title.meaning]


@dataclass(frozen=True)
class Labelled:
    """A group as sections on all tasks call it.

    Attributes:
        label: with the task where there are several.
        group: it.
        command: what would train its first run again, or None.
    """

    label: str
    group: Group
    command: str | None = None


def labelled(
    comparisons: Sequence[Comparison], commands: Mapping[Path, str | None]
) -> list[Labelled]:
    """Every group of the page, in order."""
    several = len(comparisons) > 1
    return [
        Labelled(
            f"{group.label} on {comparison.title}" if several else group.label,
            group,
            commands.get(group.runs[0].path),
        )
        for comparison in comparisons
        for group in comparison.groups
    ]


@dataclass(frozen=True)
class SamplesView:
    """Samples of one group.

    Attributes:
        label: of the group.
        style: of the group.
        about: which they are.
        samples: some.
    """

    label: str
    style: int
    about: str
    samples: tuple[Sample, ...]


def samples_of(groups: Sequence[Labelled]) -> tuple[list[SamplesView], list[str]]:
    """Samples of each group's first run that has some, and a line for groups without."""
    most = max(2, _MOST_SAMPLES // len(groups))
    found, notes = [], []
    for item in groups:
        run = next((run for run in item.group.runs if run.samples), None)
        if run is None:
            notes.append(f"There are no samples in the folder of {item.label}.")
            continue
        about = f"seed {run.config.seed}, update {run.sampled_at:,}"
        found.append(SamplesView(item.label, item.group.style, about, run.samples[:most]))
    return found, notes


@dataclass(frozen=True)
class OptionsView:
    """Options of all groups.

    Attributes:
        differing: name, and the value in each group.
        own: the same, of options that one group alone has.
        shared: name and value.
    """

    differing: tuple[tuple[str, tuple[str, ...]], ...]
    own: tuple[tuple[str, tuple[str, ...]], ...]
    shared: tuple[tuple[str, str], ...]


def options_of(groups: Sequence[Group]) -> OptionsView:
    """Options that differ apart from those that do not; the seed is no such option."""
    every = [group.options for group in groups]
    names = [
        name for name in dict.fromkeys(name for one in every for name in one) if name != "seed"
    ]
    apart = [name for name in differing(every[0], *every) if name != "seed"]
    own = {name for name in apart if sum(name in one for one in every) == 1}
    rows = [(name, tuple(_value(one, name) for one in every)) for name in apart]
    return OptionsView(
        differing=tuple(row for row in rows if row[0] not in own),
        own=tuple(row for row in rows if row[0] in own),
        shared=tuple((name, _value(every[0], name)) for name in names if name not in apart),
    )


def _value(options: Mapping[str, object], name: str) -> str:
    return worded(options[name]) if name in options else NOTHING


@dataclass(frozen=True)
class FactsView:
    """What folders say of where and how far runs went.

    Attributes:
        names: of the columns.
        rows: label, seed and cells.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[str, ...]], ...]


def facts_of(groups: Sequence[Labelled]) -> FactsView:
    """A row a run."""
    runs = [(item.label, run) for item in groups for run in item.group.runs]
    found = [(label, run, _facts(run)) for label, run in runs]
    names = tuple(dict.fromkeys(name for *_, facts in found for name in facts))
    return FactsView(
        names,
        tuple(
            (label, run.config.seed, tuple(facts.get(name, NOTHING) for name in names))
            for label, run, facts in found
        ),
    )


def _facts(run: Run) -> dict[str, str]:
    found = {"updates": f"{run.update:,} of {run.config.updates:,}"}
    if run.evaluation is not None:
        found["evaluated"] = run.evaluation.checkpoint
    return found | dict(run.facts)


def title_of_page(comparisons: Sequence[Comparison]) -> str:
    """What was compared."""
    learners = dict.fromkeys(
        group.runs[0].config.learner for one in comparisons for group in one.groups
    )
    return f"{listed(list(learners), 5)} on {listed([one.title for one in comparisons], 3)}"


def extent(comparisons: Sequence[Comparison]) -> str:
    """How many runs and seeds, in words."""
    sizes = [len(group.runs) for one in comparisons for group in one.groups]
    runs = f"{sum(sizes)} runs" if sum(sizes) > 1 else "One run"
    if len(sizes) == 1:
        return f"{runs}, {sizes[0]} seeds." if sizes[0] > 1 else f"{runs}."
    each = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
    return f"{runs}: {len(sizes)} settings with {each} seed{'s' * (max(sizes) > 1)} each."


def listed(names: Sequence[str], most: int) -> str:
    """`a, b and c`; beyond the most, `and 4 more`."""
    shown = list(names[:most])
    if len(names) > most:
        shown = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
