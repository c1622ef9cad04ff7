"""A table's runs, made by the command line alone: train, evaluate with a sweep, report."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import interval, machine, paired, print_table, train_all
from benchmarks.papers.commands import SEEDS

Figures = Mapping[str, Mapping[str, float]]
"""By row and column."""


def parser(title: str) -> argparse.ArgumentParser:
    """The options that every table has."""
    found = argparse.ArgumentParser(description=title)
    found.add_argument("--scale", choices=SEEDS, default="cpu")
    found.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    found.add_argument("--out", type=Path, default=None, help="default: runs/papers-SCALE")
    found.add_argument("--json", type=Path, default=None, help="also write the figures here")
    return found


def folder(options: argparse.Namespace) -> Path:
    """Where the runs go, shared by all tables of a scale."""
    out: Path = options.out or Path("runs") / f"papers-{options.scale}"
    return out.resolve()


def complete(commands: Mapping[Path, list[str]], sweep: list[str], jobs: int) -> None:
    """Train and evaluate whatever is not yet; the first run with its reference rows.

    Args:
        commands: what follows `rubout train --out RUN`, by RUN.
        sweep: what follows `rubout evaluate RUN --sweep`.
        jobs: runs at a time.
    """
    train_all(commands, jobs)
    first = next(iter(commands))

    def evaluate(run: Path) -> None:
        if (run / "sweep.json").exists():
            return
        began = time.perf_counter()
        words = ["evaluate", str(run), "--sweep", *sweep]
        rubout([*words, *([] if run == first else ["--no-references"])], run.parent / "sweep.log")
        print(f"{run.name}: swept in {time.perf_counter() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(evaluate, commands))


def rubout(words: Sequence[str], log: Path) -> None:
    """One command, its output appended to a file."""
    with log.open("a") as file:
        command = [sys.executable, "-m", "rubout", *words]
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=True)


def rows_of(run: Path) -> dict[str, dict[str, Any]]:
    """The rows of a run's sweep, by name."""
    return {row["name"]: row for row in json.loads((run / "sweep.json").read_text())["rows"]}


def conclude(
    title: str,
    ours: Mapping[str, Sequence[Mapping[str, float]]],
    references: Figures,
    published: Mapping[str, str],
    runs: Sequence[Path],
    options: argparse.Namespace,
    name: str,
) -> None:
    """Print the tables, write the report and the figures.

    Args:
        title: of the table.
        ours: by row, the figures of each seed.
        references: rows without seeds.
        published: what the paper says of a row, in the order of its own columns.
        runs: all of them, for the report.
        options: of the command line.
        name: of the report's file.
    """
    columns = list(next(iter(ours.values()))[0])
    rows = [
        [
            row,
            *(interval([one[column] for one in seeds]) for column in columns),
            published.get(row, ""),
        ]
        for row, seeds in ours.items()
    ]
    rows += [
        [row, *(f"{values[column]:.3f}" for column in columns), published.get(row, "")]
        for row, values in references.items()
    ]
    seeds = SEEDS[options.scale]
    print_table(
        f"{title}, scale {options.scale}: mean of {seeds} seeds ± half a 95% interval",
        ["", *columns, "published"],
        rows,
    )
    if "mle" in ours:
        differences = [
            [
                row,
                *(
                    paired([one[column] for one in each], [one[column] for one in ours["mle"]])
                    for column in columns
                ),
            ]
            for row, each in ours.items()
            if row != "mle"
        ]
        print_table("minus MLE, paired by seed", ["", *columns], differences)
    report = folder(options) / f"{name}.html"
    rubout(["report", *map(str, runs), "--out", str(report)], folder(options) / "report.log")
    print(f"\nreport: {report}\n{machine()}")
    if options.json:
        value = {"title": title, "scale": options.scale, "ours": ours, "references": references}
        options.json.write_text(json.dumps(value | {"published": published} | machine(), indent=2))
