"""A folder of `rubout tune` made by hand: what a report says of it is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPACE = {
    "learner.lr": "LogUniform(low=0.001, high=0.1)",
    "learner.kind": "Choice(values=('a', 'b', 'c'))",
    "policy.dropout": "Uniform(low=0.0, high=0.5)",
}


def trial(number: int, metric: float | None = None, **more: Any) -> dict[str, Any]:
    """An entry of results.json; without a metric it has no figures."""
    given = {
        "number": f"{number:05d}",
        "status": "whole",
        "sample": {"learner.lr": 0.01, "learner.kind": "b", "policy.dropout": 0.25},
        "update": 2,
        "updates": 4,
        "figures": None if metric is None else {"nll_validation": metric},
        "error": "",
    }
    return given | more


def make_search(
    path: Path,
    trials: Sequence[Mapping[str, Any]],
    best_run: Path | None,
    *,
    space: Mapping[str, str] | None = None,
    mode: str = "min",
) -> Path:
    """A search; its best is the trial with the least metric, or the greatest."""
    path.mkdir(parents=True)
    asked = {
        "search": "tune_configs/psi_mle.py",
        "num_samples": 8,
        "seed": 3,
        "base": {"learner": "mle", "updates": 4},
        "space": dict(space or SPACE),
        "metric": "nll_validation",
        "mode": mode,
        "scheduler": "Asha(grace=1, factor=3)",
        "searcher": "random",
    }
    (path / "search.json").write_text(json.dumps(asked))
    scored = [one for one in trials if one["figures"] and "nll_validation" in one["figures"]]
    scored.sort(key=lambda one: one["figures"]["nll_validation"], reverse=mode == "max")
    if scored and best_run is not None:
        shutil.copytree(best_run, path / "best")
    results = {
        "metric": "nll_validation",
        "mode": mode,
        "best": scored[0]["number"] if scored else None,
        "trials": list(trials),
    }
    (path / "results.json").write_text(json.dumps(results))
    for one in scored:
        folder = path / "trials" / one["number"]
        folder.mkdir(parents=True)
        metric = one["figures"]["nll_validation"]
        records = [
            {"update": update, "kind": "evaluation", "time": 1.0, "nll_validation": metric + excess}
            for update, excess in ((2, 0.0), (4, 0.5))
        ]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "metrics.jsonl").write_text(lines)
    return path
