"""What came of a search: read from its trials' RUN folders; needs no Ray."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rubout import plugins
from rubout.errors import UserError
from rubout.files import write_json
from rubout.search import Search, Value
from rubout.training import checkpoint
from rubout.training.run import Record
from rubout.training.run_folder import RunFolder

SAMPLE, FAILED = "sample.json", "failed.json"
Status = Literal["whole", "stopped", "failed", "unfinished"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: in its search, five digits.
        status: `whole` (all updates, or early stopping of its own), `stopped` by the scheduler,
            `failed`, or `unfinished` where the search was interrupted.
        sample: what it drew.
        update: of the checkpoint that stands for it.
        updates: done in all.
        figures: the evaluation of that checkpoint.
        error: one line, where it failed.
    """

    number: str
    status: Status
    sample: dict[str, Value]
    update: int = 0
    updates: int = 0
    figures: dict[str, float] | None = None
    error: str = ""


def read_trial(path: Path, stopped: Sequence[str]) -> Trial:
    """A trial as its folder tells.

    Args:
        path: the RUN folder.
        stopped: numbers of the trials that the scheduler stopped.
    """
    sample = json.loads((path / SAMPLE).read_text(encoding="utf-8"))
    if (path / FAILED).exists():
        error = json.loads((path / FAILED).read_text(encoding="utf-8"))["error"]
        return Trial(path.name, "failed", sample, error=error)
    folder = RunFolder(path)
    done = checkpoint.checkpoints(folder.checkpoints)
    if not done:
        return Trial(path.name, "unfinished", sample)
    state, found = checkpoint.read_state(done[-1]), standing(folder)
    config = folder.config()
    patient = bool(config.patience) and state.stale_evaluations >= config.patience
    status: Status = "unfinished"
    if state.update >= config.updates or patient:
        status = "whole"
    elif path.name in stopped:
        status = "stopped"
    if found is None:
        return Trial(path.name, status, sample, updates=state.update)
    figures = {name: value for name, value in found.items() if name.startswith("nll_")}
    return Trial(path.name, status, sample, int(found["update"]), state.update, figures)


def standing(folder: RunFolder) -> Record | None:
    """The evaluation of the checkpoint that stands for a run; None before the first."""
    records = [record for record in folder.read_metrics() if record["kind"] == "evaluation"]
    if not records:
        return None
    learner: Any = plugins.find("learner", folder.config().learner)
    if learner.stands_for_run == "last":
        return records[-1]
    return min(records, key=lambda record: float(record["nll_validation"]))


def read_trials(out: Path, stopped: Sequence[str] = ()) -> list[Trial]:
    """All trials of a search that have begun, by number."""
    return [read_trial(path.parent, stopped) for path in sorted(out.glob(f"trials/*/{SAMPLE}"))]


def best(trials: Sequence[Trial], search: Search) -> Trial | None:
    """The trial with the best metric; None where none has it."""
    sign = 1 if search.mode == "min" else -1
    scored = [trial for trial in trials if trial.figures and search.metric in trial.figures]
    return min(scored, key=lambda trial: sign * (trial.figures or {})[search.metric], default=None)


def export(out: Path, trial: Trial) -> Path:
    """The best trial as an ordinary RUN folder, `best`; what was there before is replaced."""
    target, fresh = out / "best", out / ".best-new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(out / "trials" / trial.number, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.replace(target)
    return target


def write(out: Path, trials: Sequence[Trial], search: Search, winner: Trial | None) -> None:
    """results.json: every trial, and which is best."""
    write_json(
        out / "results.json",
        {
            "metric": search.metric,
            "mode": search.mode,
            "best": None if winner is None else winner.number,
            "trials": [asdict(trial) for trial in trials],
        },
    )


def check_metric(trials: Sequence[Trial], search: Search) -> None:
    """Whether the metric is one that evaluations have.

    Raises:
        UserError: it is not.
    """
    names = {name for trial in trials for name in trial.figures or {}}
    if names and search.metric not in names:
        raise UserError(
            f"there is no metric {search.metric}: trials have {', '.join(sorted(names))}"
        )
