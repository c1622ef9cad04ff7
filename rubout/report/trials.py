"""The folder that `rubout tune` writes, as a report reads it."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from rubout.errors import UserError
from rubout.report.material import Run, read_metrics, read_run
from rubout.training.run_folder import RunFolder
from rubout.tuning.results import Status, Trial

_SEARCH, _RESULTS = "search.json", "results.json"

Curve = Mapping[int, float]


@dataclass(frozen=True)
class SearchFolder:
    """A search that has come to its end.

    Attributes:
        path: of the folder.
        name: the Python file or module that was searched.
        seed: of what the trials drew.
        smoke: whether they are runs of seconds, to see that everything works.
        base: options of every trial.
        space: what each trial drew for itself: the `repr` of a domain, by option.
        metric: a figure of the evaluations.
        mode: whether the least (`min`) or the greatest (`max`) is best.
        scheduler: what stopped bad trials: its `repr`.
        searcher: what proposed options.
        trials: best first, then those without a figure, each kind by number.
        curves: the metric by update, of each trial that has some; finite.
        best: the run of the best trial, the first of all; None where no trial has a figure.
    """

    path: Path
    name: str
    seed: int
    smoke: bool
    base: Mapping[str, object]
    space: Mapping[str, str]
    metric: str
    mode: str
    scheduler: str
    searcher: str
    trials: tuple[Trial, ...]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    best: Run | None = None

    @property
    def scored(self) -> list[Trial]:
        """The trials with a finite metric, best first."""
        return [trial for trial in self.trials if score(trial, self.metric) is not None]


def score(trial: Trial, figure: str) -> float | None:
    """A figure of a trial; None where there is none, or it is not finite."""
    value = (trial.figures or {}).get(figure)
    return value if value is not None and math.isfinite(value) else None


def is_search(path: Path) -> bool:
    """Whether a folder is one that `rubout tune` writes."""
    return (path / _SEARCH).is_file() or (path / _RESULTS).is_file()


def read_search(path: Path) -> SearchFolder:
    """All that a report needs of a search.

    Raises:
        UserError: it has no results yet, or one of its files is damaged.
    """
    asked = _asked(path)
    again = _again(path, asked)
    try:
        results = _object(path / _RESULTS)
        metric, mode = str(results["metric"]), str(results["mode"])
        trials = sorted(map(_trial, results["trials"]), key=lambda trial: trial.number)
        winner = results["best"]
        if winner is not None and winner not in {trial.number for trial in trials}:
            raise ValueError(f"the best trial, {winner}, is not among the trials")
    except FileNotFoundError as error:
        raise UserError(f"{path} has no {_RESULTS}: the search did not end; {again}") from error
    except KeyError as error:
        raise UserError(f"{path / _RESULTS} is damaged: it has no {error}; {again}") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path / _RESULTS} is damaged: {error}; {again}") from error
    if winner is not None and not (path / "best" / "config.json").is_file():
        raise UserError(f"{path / 'best'}, the run of trial {winner}, is missing; {again}")
    sign = 1 if mode == "min" else -1

    def place(trial: Trial) -> tuple[bool, float]:
        value = score(trial, metric)
        return trial.number != winner, math.inf if value is None else sign * value

    return SearchFolder(
        **asked,
        path=path,
        metric=metric,
        mode=mode,
        trials=tuple(sorted(trials, key=place)),
        curves=_curves(path, trials, metric),
        best=None if winner is None else read_run(path / "best"),
    )


def _asked(path: Path) -> dict[str, Any]:
    """What search.json says, but for the metric, which the results have as well."""
    try:
        found = _object(path / _SEARCH)
        if not found["space"]:
            raise ValueError("its space is empty")
        return {
            "name": str(found["search"]),
            "seed": int(found["seed"]),
            "smoke": bool(found.get("smoke")),
            "base": dict(found["base"]),
            "space": {str(name): str(domain) for name, domain in dict(found["space"]).items()},
            "scheduler": str(found["scheduler"]),
            "searcher": str(found["searcher"]),
        }
    except FileNotFoundError as error:
        raise UserError(f"{path} has no {_SEARCH}: it is no search of rubout tune") from error
    except KeyError as error:
        raise UserError(f"{path / _SEARCH} is damaged: it has no {error}") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path / _SEARCH} is damaged: {error}") from error


def _again(path: Path, asked: Mapping[str, Any]) -> str:
    """What to type to go on with a search."""
    count = _object(path / _SEARCH).get("num_samples", "")
    words = ["rubout", "tune", asked["name"], "--out", path, "--num-samples", count]
    words += ["--seed", asked["seed"], *(["--smoke"] if asked["smoke"] else []), "--resume"]
    return f"go on with it: {shlex.join(map(str, words))}"


def _object(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _trial(entry: Mapping[str, Any]) -> Trial:
    """One entry of results.json, of the kinds it should be of."""
    status, figures = entry["status"], entry["figures"]
    if status not in get_args(Status):
        raise ValueError(f"a trial is {status!r}")
    if not str(entry["number"]).isdecimal():
        raise ValueError(f"a trial is numbered {entry['number']!r}")
    sample = dict(entry["sample"])
    for name, value in sample.items():
        if isinstance(value, list | dict) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ValueError(f"a trial has {value!r} as {name}")
    return Trial(
        number=str(entry["number"]),
        status=status,
        sample=sample,
        update=int(entry["update"]),
        updates=int(entry["updates"]),
        figures=None if figures is None else {str(k): float(v) for k, v in figures.items()},
        error=" ".join(str(entry["error"]).split()),
    )


def _curves(path: Path, trials: list[Trial], metric: str) -> dict[str, Curve]:
    """The metric by update, of each trial whose folder has it."""
    found: dict[str, Curve] = {}
    for trial in trials:
        curve = {
            int(record["update"]): float(record[metric])
            for record in read_metrics(RunFolder(path / "trials" / trial.number))
            if record.get("kind") == "evaluation"
            and isinstance(record.get(metric), int | float)
            and math.isfinite(record[metric])
        }
        if curve:
            found[trial.number] = curve
    return found
