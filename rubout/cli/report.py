"""`rubout report RUN [RUN ...] --out FILE.html`: runs, or a search, in one page for a browser."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from rubout.cli.parse import parse
from rubout.cli.train import read_options
from rubout.errors import UserError
from rubout.options import to_dict
from rubout.report import page, settings
from rubout.report.material import read_run
from rubout.report.trials import is_search, read_search
from rubout.training.config import TrainConfig

_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class ReportOptions:
    """Show runs in one HTML file: tables, learning curves, fronts, samples as typed, options.

    Runs that differ only in their seed are one line with an interval. A search, given alone, shows
    its trials and the best of them. The file needs no network.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """RUN folders, finished or not; or one SEARCH, the folder of `rubout tune`."""
    out: Path
    """File to write; one that is there is replaced."""
    baseline: str | None = None
    """What differences are to: a learner, a label of the report, or one of the RUNs (default: mle,
    else the first)."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(ReportOptions, argv, "rubout report")
    if not options.runs:
        raise UserError("give at least one RUN")
    out = options.out.expanduser().resolve()
    if out.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--out {options.out} must end in .html")
    if out.is_dir():
        raise UserError(f"--out {options.out} is a folder")
    searches = [path for path in options.runs if is_search(path)]
    size = page.write(out, _of_search(options, searches) if searches else _of_runs(options))
    print(f"{out}: {_size(size)}\nopen it in any browser: {out.as_uri()}")
    return 0


def _of_runs(options: ReportOptions) -> str:
    runs = [read_run(path) for path in options.runs]
    commands = {one.path: command(one.config) for one in runs}
    return page.render(runs, datetime.now(UTC), options.baseline, commands)


def _of_search(options: ReportOptions, searches: Sequence[Path]) -> str:
    if len(options.runs) > 1:
        raise UserError(
            f"{searches[0]} is a search, which is shown alone: leave out the rest, or give "
            f"{searches[0] / 'best'}, its best run, instead"
        )
    if options.baseline is not None:
        raise UserError("--baseline is for RUNs: the trials of a search are ranked, not compared")
    found = read_search(searches[0])
    again = None if found.best is None else command(found.best.config)
    return page.render_search(found, datetime.now(UTC), again)


def command(config: TrainConfig) -> str | None:
    """What to type to train a run again; None where no command line gives exactly its options."""
    try:
        words = settings.words(config)
        again = read_options(["--out", "RUN", *words])[1]
    except UserError:
        return None
    if not _holds(to_dict(again), to_dict(config)):
        return None
    return f"rubout train --out RUN {shlex.join(words)}"


def _holds(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether all that is wanted is there; a run of an older version lacks newer options."""
    return all(
        name in values
        and (
            _holds(values[name], value)
            if isinstance(value, Mapping) and isinstance(values[name], Mapping)
            else _plain(values[name]) == _plain(value)
        )
        for name, value in wanted.items()
    )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
