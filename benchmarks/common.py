"""What the benchmarks share: the machine's description and plain tables."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rubout.evaluation.estimate import over_seeds


def interval(values: Sequence[float]) -> str:
    """Mean and half width of the 95% interval over seeds."""
    return str(over_seeds(values))


def paired(ones: Sequence[float], others: Sequence[float]) -> str:
    """The interval of the differences, seed by seed."""
    return interval([one - other for one, other in zip(ones, others, strict=True)])


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median and the upper one."""
    lower, middle, upper = np.percentile(values, (25, 50, 75)).tolist()
    return lower, middle, upper


def best(work: Callable[[], object], times: int = 3) -> float:
    """The least seconds of several times."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def reset_peak() -> None:
    """From here on the largest resident set is that of what comes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_mb(field: Literal["VmRSS", "VmHWM"]) -> float:
    """This process's resident set, or the largest it has been since `reset_peak`; in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def train_all(commands: Mapping[Path, list[str]], jobs: int) -> None:
    """Run `rubout train` with the options of each RUN folder; finished runs are left as they are.

    Args:
        commands: what follows `rubout train --out RUN`, by RUN; unfinished runs are resumed.
        jobs: runs at a time.
    """

    def train(run: Path) -> None:
        """One of them; its output goes to a log beside it."""
        if (run / "evaluation.json").exists():
            return
        began = time.perf_counter()
        words = [sys.executable, "-m", "rubout", "train", "--out", str(run), *commands[run]]
        words += ["--resume"] if (run / "config.json").exists() else []
        run.parent.mkdir(parents=True, exist_ok=True)
        with (run.parent / f"{run.name}.log").open("w") as log:
            subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=True)
        print(f"{run.name}: {time.perf_counter() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(train, commands))


def options_of(prefix: str, options: Mapping[str, object]) -> list[str]:
    """`--prefix.name value` for each option."""
    return [
        word
        for name, value in options.items()
        for word in (f"--{prefix}{name.replace('_', '-')}", str(value))
    ]


def machine() -> dict[str, str | int]:
    """What the figures were measured on; a virtual machine's processor may have no other name."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().split("\n\n")[0].splitlines())
        found = {name.strip(): value.strip() for name, _, value in lines}
        if {"model name", "cpu family", "model"} <= found.keys():
            processor = "{model name} (family {cpu family}, model {model})".format(**found)
    return {
        "processor": processor,
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown, columns aligned."""
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    print(f"\n{title}\n")
    for number, row in enumerate(table):
        cells = [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            dashes = [
                "-" * width if place == 0 else "-" * (width - 1) + ":"
                for place, width in enumerate(widths)
            ]
            print("| " + " | ".join(dashes) + " |")
