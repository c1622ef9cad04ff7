"""Runs that belong together: seeds of one experiment, and experiments on one task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rubout.errors import UserError, nearest
from rubout.report.material import Run
from rubout.report.settings import NEUTRAL, differing, flat, said_of, worded

_SEED = re.compile(r"[-_. ]*seed[-_]?\d+$")
_SEEDED = re.compile(r"seed[-_]?\d+")  # a run begins with that of its own seed
_FEW = 2  # options a label may name; more would be no name


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed.

    Attributes:
        label: what they are called, unlike that of any other group of the report.
        runs: by rising seed, no two of the same one.
        style: which line they have in every chart, from 0 up.
    """

    label: str
    runs: tuple[Run, ...]
    style: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs."""
        return tuple(run.config.seed for run in self.runs)

    @property
    def counted(self) -> str:
        """How many seeds, in words."""
        return f"{len(self.runs)} seeds" if len(self.runs) > 1 else f"seed {self.seeds[0]}"

    @cached_property
    def options(self) -> dict[str, object]:
        """Of the first run."""
        return flat(self.runs[0].config)


@dataclass(frozen=True)
class Comparison:
    """Groups on one task: what can be compared.

    Attributes:
        title: the task's name, and what tells it from another of the same name.
        groups: in the order they were given.
    """

    title: str
    groups: tuple[Group, ...]

    def group_of(self, wanted: str) -> Group | None:
        """The group of a label, or of a learner with no other group, or that holds a run."""
        for group in self.groups:
            if wanted == group.label or _path(wanted) in [_path(run.path) for run in group.runs]:
                return group
        found = [group for group in self.groups if group.runs[0].config.learner == wanted]
        return found[0] if len(found) == 1 else None

    def baseline(self, wanted: str | None) -> Group | None:
        """What the other groups are compared with: maximum likelihood, else the first.

        Args:
            wanted: a label, learner or RUN instead; None where this is not on this task.
        """
        if wanted is not None:
            return self.group_of(wanted)
        plain = [group for group in self.groups if group.runs[0].config.learner == "mle"]
        return (plain or list(self.groups))[0]


def comparisons(runs: Sequence[Run], baseline: str | None = None) -> tuple[Comparison, ...]:
    """Runs by task, and on each by all their options but the seed.

    Args:
        runs: at least one.
        baseline: see `Comparison.group_of`.

    Raises:
        UserError: a run was given twice, or there is no such baseline.
    """
    twice = [path for path, count in Counter(_path(run.path) for run in runs).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]} was given twice")
    tasks: dict[str, list[Group]] = {}
    for group in _by_options(runs):
        tasks.setdefault(_task_key(group), []).append(group)
    titles = _task_titles([found[0] for found in tasks.values()])
    found = tuple(
        Comparison(title, tuple(_labelled(members)))
        for title, members in zip(titles, tasks.values(), strict=True)
    )
    if baseline is not None and not any(one.group_of(baseline) for one in found):
        hint = nearest(baseline, [group.label for one in found for group in one.groups])
        raise UserError(f"--baseline {baseline}: there are no such runs in the report{hint}")
    return found


def _by_options(runs: Sequence[Run]) -> list[Group]:
    """Groups without names; a seed that comes again begins another group."""
    members: dict[tuple[str, int], list[Run]] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for run in runs:
        options = flat(run.config) | {"init": _SEEDED.sub("seed", str(run.config.init))}
        key = said_of(options, NEUTRAL | {"seed"})
        members.setdefault((key, seen[key, run.config.seed]), []).append(run)
        seen[key, run.config.seed] += 1
    return [
        Group("", tuple(sorted(found, key=lambda run: run.config.seed)), 0)
        for found in members.values()
    ]


def _labelled(groups: Sequence[Group]) -> list[Group]:
    """Named by learner; where that says too little by a few options, else by folder."""
    namers: list[Callable[[Group, Sequence[Group]], str]]
    namers = [_by_learner, _with_options, _by_folder, _by_parent]
    labels: dict[int, str] = {}
    for name in namers:
        unnamed = {place: group for place, group in enumerate(groups) if place not in labels}
        given = {place: name(group, list(unnamed.values())) for place, group in unnamed.items()}
        counts = Counter([*labels.values(), *given.values()])
        labels |= {place: label for place, label in given.items() if counts[label] == 1}
    return [
        replace(group, label=labels.get(place, str(_path(group.runs[0].path))), style=place)
        for place, group in enumerate(groups)
    ]


def _by_learner(group: Group, others: Sequence[Group]) -> str:
    del others
    return group.runs[0].config.learner


def _with_options(group: Group, others: Sequence[Group]) -> str:
    """The learner, and what tells it from others of its name."""
    learner = _by_learner(group, ())
    rivals = [other.options for other in others if _by_learner(other, ()) == learner]
    names = [
        name for name in differing(group.options, *rivals) if name not in NEUTRAL | {"seed", "init"}
    ]
    if not names or len(names) > _FEW:
        return learner  # no better than before: the next way of naming is tried
    return f"{learner}, " + ", ".join(f"{name} {worded(group.options.get(name))}" for name in names)


def _by_folder(group: Group, others: Sequence[Group]) -> str:
    del others
    name = _path(group.runs[0].path).name
    return f"{_by_learner(group, ())} ({_SEED.sub('', name) or name})"


def _by_parent(group: Group, others: Sequence[Group]) -> str:
    del others
    path = _path(group.runs[0].path)
    return f"{_by_learner(group, ())} ({path.parent.name}/{_SEED.sub('', path.name) or path.name})"


def _task_key(group: Group) -> str:
    """Equal where figures can be compared."""
    options = {
        key: value
        for key, value in group.options.items()
        if key == "task" or key.startswith("task.")
    }
    return said_of(options, frozenset())


def _task_titles(firsts: Sequence[Group]) -> list[str]:
    """A name for each task; a file is called by its name."""
    plain = [_task_title(group.options) for group in firsts]
    counts = Counter(plain)
    all_options = [
        {key: value for key, value in group.options.items() if key.startswith("task.")}
        for group in firsts
    ]
    titles = []
    for title, options in zip(plain, all_options, strict=True):
        names = differing(options, *all_options) if counts[title] > 1 else []
        more = ", ".join(f"{name} {worded(options.get(name))}" for name in names)
        titles.append(f"{title} ({more})" if more else title)
    return titles


def _task_title(options: Mapping[str, object]) -> str:
    path = options.get("task.path")
    return f"{options['task']} {Path(str(path)).name}" if path else str(options["task"])


def _path(path: Path | str) -> Path:
    return Path(path).expanduser().resolve()
