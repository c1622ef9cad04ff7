"""`rubout tune FILE.py`: search options; the best trial becomes an ordinary RUN folder."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.table import Table

from rubout.cli import show, tables
from rubout.cli.parse import parse
from rubout.cli.traces import counted
from rubout.errors import UserError
from rubout.evaluation.titles import title_of
from rubout.files import write_json
from rubout.layout import check_layout
from rubout.rollout.environment import has_ray, is_remote, lasting, num_cpus, prepare
from rubout.search import Search
from rubout.tuning import options as trials_options
from rubout.tuning import results
from rubout.tuning.resources import Demand
from rubout.tuning.results import Trial

_LINE_EVERY_S = 5.0
_SMOKE_SAMPLES = 2


@dataclass(frozen=True)
class TuneOptions:
    """Search the options of `rubout train`, as a Python file says."""

    search: Annotated[str, tyro.conf.Positional]
    """FILE.py, or a module: it has a `search` (rubout.search.Search)."""
    out: Path | None = None
    """Folder to write (default: runs/tune-NAME)."""
    num_samples: int | None = None
    """Trials (default: those of the search; 2 with --smoke)."""
    max_concurrent: int = 0
    """Trials at a time; 0: as many as fit."""
    smoke: bool = False
    """Runs of seconds, to see that everything works."""
    seed: int = 0
    """Of what the trials draw; a trial's own seed is an option like any other."""
    resume: bool = False
    """Go on with the search in --out: trials that are whole are not run again."""
    address: str | None = None
    """Ray cluster to join; default: $RAY_ADDRESS, else one is started on this machine."""
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Besides CSV, JSON and TensorBoard, which there always are."""
    json: bool = False
    """Print one JSON document at the end and nothing else."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(TuneOptions, argv, "rubout tune")
    if (options.num_samples is not None and options.num_samples < 1) or options.max_concurrent < 0:
        raise UserError("--num-samples must be at least 1, --max-concurrent not negative")
    search = _read(options)
    name = Path(options.search).stem.rpartition(".")[2] or options.search
    out = lasting(options.out or Path("runs") / f"tune-{name}")
    count = options.num_samples or (_SMOKE_SAMPLES if options.smoke else search.num_samples)
    asked = _asked(options, search, count)
    _check_folder(out, asked, resume=options.resume)
    config = trials_options.check(search)
    config = dataclasses.replace(config, address=options.address)
    if not is_remote(options.address):
        here = {"CPU": float(num_cpus()), "GPU": float(torch.cuda.device_count())}
        Demand.of(config).fits([here], "this machine")
    check_layout()
    if not has_ray():
        raise UserError("ray is not installed: pip install 'ray[default,train,tune]'")
    prepare(options.address)
    from rubout.tuning.environment import prepare as prepare_tune

    prepare_tune()
    from rubout.tuning.run import run as run_trials

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "search.json", asked)
    (out / "results.json").unlink(missing_ok=True)  # of an earlier end
    lines = _Lines(search, count, quiet=options.json)
    lines.heading(options.search, out)
    stopped, failed = run_trials(
        search,
        config,
        out,
        num_samples=count,
        max_concurrent=options.max_concurrent,
        seed=options.seed,
        resume=options.resume,
        loggers=options.loggers,
        tell=lines,
    )
    return _conclude(search, out, stopped, failed, as_json=options.json)


def _conclude(
    search: Search, out: Path, stopped: Sequence[str], failed: Mapping[str, str], *, as_json: bool
) -> int:
    """Write the results, show them; 1 where a trial failed."""
    trials = results.read_trials(out, stopped)
    trials = [
        dataclasses.replace(trial, status="failed", error=trial.error or failed[trial.number])
        if trial.number in failed
        else trial
        for trial in trials
    ]
    results.check_metric(trials, search)
    winner = results.best(trials, search)
    if winner is not None:
        results.export(out, winner)
    results.write(out, trials, search, winner)
    if as_json:
        print((out / "results.json").read_text(encoding="utf-8"), end="")
    else:
        _table(trials, search, winner)
        for trial in trials:
            if trial.status == "failed":
                print(f"trial {trial.number} failed: {trial.error}")
        if winner is not None:
            path = shlex.quote(str(out / "best"))
            print(f"\nthe best, trial {winner.number}, is the run {path}; next:")
            for words in (f"evaluate {path}", f"generate {path} --num 100"):
                print(f"  {show.program()} {words}")
            print(f"  {show.program()} report {shlex.quote(str(out))} --out report.html")
    return 1 if failed else 0


def _table(trials: Sequence[Trial], search: Search, winner: Trial | None) -> None:
    sign = 1 if search.mode == "min" else -1
    shown = Table()
    names = sorted({name for trial in trials for name in trial.sample})
    figures = list(dict.fromkeys(name for trial in trials for name in trial.figures or {}))
    keys = [name.rpartition(".")[2] for name in names]
    titles = [title_of(name).words for name in figures]
    for heading in ("trial", *keys, *titles, "at", "updates", ""):
        shown.add_column(heading, justify="right", overflow="fold")
    ordered = sorted(
        trials,
        key=lambda trial: (
            sign * trial.figures[search.metric] if trial.figures else float("inf"),
            trial.number,
        ),
    )
    for trial in ordered:
        mark = "best" if trial is winner else "" if trial.status == "whole" else trial.status
        shown.add_row(
            trial.number,
            *(_value(trial.sample.get(name)) for name in names),
            *(_value((trial.figures or {}).get(name)) for name in figures),
            f"{trial.update:,}",
            f"{trial.updates:,}",
            mark,
        )
    print(f"\n{counted(len(trials), 'trial')}, by {search.metric} at the update it stands for")
    tables.print_table(shown)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _read(options: TuneOptions) -> Search:
    search = trials_options.find_search(options.search)
    if options.smoke:
        search = dataclasses.replace(search, base={**search.base, **search.smoke})
    return search


def _asked(options: TuneOptions, search: Search, count: int) -> dict[str, Any]:
    """What makes a search the same: what search.json holds."""
    return {
        "search": options.search,
        "smoke": options.smoke,
        "num_samples": count,
        "seed": options.seed,
        "base": dict(search.base),
        "space": {name: repr(domain) for name, domain in search.space.items()},
        "metric": search.metric,
        "mode": search.mode,
        "scheduler": repr(search.scheduler),
        "searcher": search.searcher,
    }


def _check_folder(out: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
    """Whether the search may be written there.

    Raises:
        UserError: it may not, or there is another one.
    """
    path = out / "search.json"
    if not resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out} is not empty: choose another, or add --resume")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--resume: {out} holds no search that can be read: {error}") from error
    for name, value in json.loads(json.dumps(asked)).items():
        if before.get(name) != value:
            raise UserError(
                f"--resume cannot change {name} {before.get(name)} to {value}: another search"
            )


class _Lines:
    """Says what happens to the trials: begin and end always, evaluations now and then."""

    def __init__(self, search: Search, count: int, *, quiet: bool) -> None:
        self._search, self._count, self._quiet = search, count, quiet
        self._next = 0.0

    def heading(self, name: str, out: Path) -> None:
        """What is searched, and where to."""
        if not self._quiet:
            keys = ", ".join(self._search.space)
            print(
                f"{name}: {counted(self._count, 'trial')} over {keys}\nwriting to {out}", flush=True
            )

    def __call__(self, number: str, what: str, result: Mapping[str, Any]) -> None:
        if self._quiet:
            return
        if what == "begins":
            drawn = "  ".join(f"{name} {_value(value)}" for name, value in result.items())
            print(f"trial {number} begins  {drawn}", flush=True)
            return
        if what == "evaluated":
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _LINE_EVERY_S
        metric = self._search.metric
        figure = f"{metric} {result[metric]:.4f}" if metric in result else "no evaluation yet"
        print(f"trial {number} {what}  update {result.get('update', 0):,}  {figure}", flush=True)
