"""Tables on the oracle: NLL_oracle and NLL_test over a sweep of temperatures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.papers import runs
from benchmarks.papers.commands import SEEDS

SWEEP: dict[str, list[str]] = {
    "smoke": ["--num-samples", "50", "--multipliers", "0.7", "1.0", "1.6"],
    "cpu": ["--num-samples", "1000"],
    "full": ["--num-samples", "10000"],
}


def table(
    title: str,
    commands: Mapping[str, Sequence[list[str]]],
    published: Mapping[str, str],
    options: Any,
    name: str,
) -> None:
    """Train, sweep, print.

    Args:
        title: of the table.
        commands: by row, what each seed is trained with.
        published: minima of NLL_oracle, NLL_test and of their sum, by row.
        options: see `runs.parser`.
        name: of the report.
    """
    out = runs.folder(options)
    folders = {
        row: [out / f"{row}-seed{seed}" for seed in range(SEEDS[options.scale])] for row in commands
    }
    every = {
        run: words
        for row, seeds in commands.items()
        for run, words in zip(folders[row], seeds, strict=True)
    }
    runs.complete(every, SWEEP[options.scale], options.jobs)
    ours = {row: [figures(runs.rows_of(run)["model"]) for run in of] for row, of in folders.items()}
    first = next(iter(every))
    references = {
        row: figures(found) for row, found in runs.rows_of(first).items() if row != "model"
    }
    runs.conclude(title, ours, references | uniform(first), published, list(every), options, name)
    print("NLL_oracle + NLL_test is printed because the papers do; it is not a proper score.")
    print("A policy with a backspace is scored on logs that never use it, as NLL_test.")


def figures(row: dict[str, Any]) -> dict[str, float]:
    """The columns: each minimum is of a temperature of its own."""
    found = row["summary"]
    at_one = found["equal temperature"]
    return {
        "min NLL_oracle": found["best nll_oracle"]["value"],
        "min NLL_test": found["best nll_test"]["value"],
        "min sum": found["best sum"]["value"],
        "NLL_oracle T=1": at_one["nll_oracle"],
        "NLL_test T=1": at_one["nll_test"],
        "area": found["area"],
    }


def uniform(run: Path) -> dict[str, dict[str, float]]:
    """The uniform policy, which is the same at every temperature."""
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    row = next(row for row in rows if row["name"] == "uniform")
    quality, diversity = row["nll_oracle"]["mean"], row["nll_test"]["mean"]
    values = (quality, diversity, quality + diversity, quality, diversity, 0.0)
    names = ("min NLL_oracle", "min NLL_test", "min sum", "NLL_oracle T=1", "NLL_test T=1", "area")
    return {"uniform": dict(zip(names, values, strict=True))}
