"""psi-MLE against MLE on the oracle: Table 5 of the psi-MLE paper, with seeds and intervals.

    python -m benchmarks.psi_mle_oracle --scale smoke|cpu|full [--jobs 2] [--out DIR]

Every run is `rubout train --learner psi_mle --learner.mixture m`; m = 1 is MLE exactly. All share
network, data and number of updates. The checkpoint of the lowest validation NLL is swept over
temperatures; the paper's columns are minima over that sweep, so each is of another temperature.
Runs that are finished under --out are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import interval, machine, options_of, paired, print_table, train_all
from rubout.cli.show import trained_policy
from rubout.evaluation.draws import head
from rubout.evaluation.references import uniform, unigram
from rubout.evaluation.sweep import sweep
from rubout.policy import Policy
from rubout.task import Task
from rubout.training import setup
from rubout.training.run_folder import RunFolder

MIXTURES = (0.0, 0.25, 0.5, 0.75, 1.0)
PUBLISHED = {  # Song et al. 2020, Table 5: minima of NLL_oracle, NLL_test, and of their sum
    0.0: (7.60, 8.01, 17.43),
    0.25: (6.23, 7.91, 16.27),
    0.5: (5.09, 7.56, 15.98),
    0.75: (5.63, 7.54, 15.94),
    1.0: (5.53, 7.60, 16.30),
}
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "task": {"vocabulary": 50, "train": 200, "validation": 100, "test": 200},
        "learner": {"mle_updates": 10, "warmup": 5},
        "run": {"updates": 20, "evaluate-every": 10},
        "seeds": 2,
        "mixtures": (0.5, 1.0),
        "samples": 100,
        "step": 0.5,
    },
    "cpu": {
        "task": {"vocabulary": 500, "train": 2000, "validation": 2000, "test": 5000},
        "learner": {"mle_updates": 300, "warmup": 200},
        "run": {"updates": 1500, "evaluate-every": 100},
        "seeds": 3,
        "mixtures": MIXTURES,
        "samples": 1000,
        "step": 0.15,
    },
    "full": {
        "task": {},
        "learner": {"mle_updates": 4000, "warmup": 500, "network.filters": "official"},
        "run": {"updates": 18840, "evaluate-every": 471, "evaluate-sequences": 5000},
        "seeds": 3,
        "mixtures": MIXTURES,
        "samples": 10000,
        "step": 0.03,
    },
}
COLUMNS = ("min NLL_oracle", "min NLL_test", "min sum", "NLL_oracle T=1", "NLL_test T=1")


def command(scale: dict[str, Any], mixture: float, seed: int) -> list[str]:
    """The options of one training run."""
    words = ["--seed", str(seed), "--task", "oracle", "--learner", "psi_mle"]
    words += ["--learner.mixture", str(mixture)]
    words += ["--policy", "lstm", "--policy.embedding", "32", "--policy.hidden", "32"]
    words += options_of("task.", scale["task"]) + options_of("learner.", scale["learner"])
    return words + options_of("", scale["run"])


def figures(policy: Policy, task: Task, scale: dict[str, Any], seed: int) -> list[float]:
    """The columns for one policy."""
    count = round((2.5 - 0.7) / scale["step"]) + 1
    multipliers = [round(0.7 + scale["step"] * place, 4) for place in range(count)]
    test = head(task.split("test"), scale["samples"])
    points = sweep(policy, task, test, [*multipliers, 1.0], scale["samples"], seed)
    quality = [point.nll_oracle.mean for point in points]
    diversity = [point.nll_test.mean for point in points]
    sums = [a + b for a, b in zip(quality, diversity, strict=True)]
    return [min(quality), min(diversity), min(sums), quality[-1], diversity[-1]]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=None, help="default: runs/psi_mle_oracle-SCALE")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    out = (options.out or Path("runs") / f"psi_mle_oracle-{options.scale}").resolve()
    torch.set_num_threads(1)
    began = time.perf_counter()

    folders = {
        (m, seed): out / f"m{m:g}-seed{seed}"
        for seed in range(scale["seeds"])
        for m in scale["mixtures"]
    }
    setup.build_task(_config(scale, out)).split("train")  # draw the oracle's data once
    train_all({path: command(scale, *run) for run, path in folders.items()}, options.jobs)

    task = setup.build_task(_config(scale, out))
    results: dict[float, list[list[float]]] = {m: [] for m in scale["mixtures"]}
    for (m, seed), path in folders.items():
        folder = RunFolder(path)
        policy, _ = trained_policy(folder, folder.config())
        results[m].append(figures(policy, task, scale, seed))
    report(results, task, scale, options.scale, time.perf_counter() - began)
    if options.json:
        value = {"scale": options.scale, "columns": COLUMNS, "results": results} | machine()
        options.json.write_text(json.dumps(value, indent=2))


def report(
    results: dict[float, list[list[float]]],
    task: Task,
    scale: dict[str, Any],
    name: str,
    seconds: float,
) -> None:
    """The table, reference rows and paired differences."""
    rows = []
    for m, runs in results.items():
        columns = [interval(list(column)) for column in zip(*runs, strict=True)]
        rows.append([f"psi-MLE m={m:g}" if m < 1 else "MLE (m=1)", *columns])
    oracle = task.oracle()
    assert oracle is not None
    references = {
        "unigram": unigram(task.space, task.split("train")),
        "uniform": uniform(task.space),
        "oracle": oracle,
    }
    for label, policy in references.items():
        rows.append([label, *(f"{value:.3f}" for value in figures(policy, task, scale, 0))])
    seeds = scale["seeds"]
    print_table(
        f"psi-MLE on the oracle, scale {name}: mean over {seeds} seeds ± half a 95% interval",
        ["", *COLUMNS],
        rows,
    )
    if 1.0 in results:
        differences = [
            [
                f"m={m:g} minus MLE",
                *(
                    paired(ours, base)
                    for ours, base in zip(
                        zip(*runs, strict=True), zip(*results[1.0], strict=True), strict=True
                    )
                ),
            ]
            for m, runs in results.items()
            if m < 1
        ]
        print_table(
            "paired differences by seed (negative: better than MLE)", ["", *COLUMNS], differences
        )
    published = [[f"m={m:g}", *map(str, row)] for m, row in PUBLISHED.items()]
    print_table("published (full scale, another oracle)", ["", *COLUMNS[:3]], published)
    print("NLL_oracle + NLL_test is printed because the paper does; it is not a proper score.")
    print(f"{seconds / 60:.1f} minutes; {machine()}")


def _config(scale: dict[str, Any], out: Path) -> Any:
    from rubout.cli.train import read_options

    return read_options(["--out", str(out / "unused"), *command(scale, 1.0, 0)])[1]


if __name__ == "__main__":
    main()
