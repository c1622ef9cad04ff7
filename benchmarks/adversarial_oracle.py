"""CoT and the sequence GANs beside MLE on the oracle, with seeds and intervals.

    python -m benchmarks.adversarial_oracle --scale smoke|cpu|full [--learners cot,seqgan]

Every row is `rubout train --learner NAME --task oracle`, evaluated while it trains: the figures are
at temperature 1, on the validation's best moment, at the end of maximum likelihood where the method
begins with it, and at its own end. `full` is SeqGAN's protocol (V=5000, 10,000 sequences, its
official discriminator, 120 epochs of maximum likelihood): for a GPU. `cpu` is a smaller oracle and
Texygen's small discriminator. Runs that are finished under --out are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import interval, machine, options_of, paired, print_table, train_all
from rubout.cli.train import read_options
from rubout.evaluation.draws import head
from rubout.evaluation.evaluate import figures
from rubout.evaluation.references import uniform, unigram
from rubout.process import set_up
from rubout.report import chart
from rubout.training import setup
from rubout.training.run_folder import RunFolder

PUBLISHED = {  # NLL_oracle, NLL_test of the 5,000-word oracle, length 20
    "mle": ("9.04 (SeqGAN, table 1)", "8.97 at its end, 7.60 at best (CoT paper)"),
    "cot": ("8.19 (CoT paper)", "8.03 at its end, 7.54 at best (CoT paper)"),
    "seqgan": ("8.74 (SeqGAN, table 1); 8.68 (its repository)", "10.10 (CoT paper)"),
    "maligan": ("8.73 (CoT paper)", "10.07 (CoT paper)"),
    "rankgan": ("8.25 (LeakGAN, table 1); 8.37 (CoT paper)", "11.19 (CoT paper)"),
    "leakgan": ("7.04, sampled with logits times 1.5 (LeakGAN, table 1)", "-"),
}
_NETWORK = {"embedding": 32, "hidden": 32}
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "task": {"vocabulary": 50, "train": 200, "validation": 100, "test": 200},
        "policy": {"embedding": 8, "hidden": 8},
        "run": {"evaluate-every": 5, "samples": 5},
        "mle": 10,
        "warmup": 4,
        "rounds": 3,
        "discriminator": {"embedding": 8},
        "completions": 2,
        "cot": 12,
        "learners": {},
    },
    "cpu": {
        "seeds": 3,
        "task": {"vocabulary": 500, "train": 2000, "validation": 2000, "test": 5000},
        "policy": _NETWORK,
        "run": {"evaluate-every": 60},
        "mle": 360,
        "warmup": 240,
        "rounds": 60,
        "discriminator": {},
        "completions": 16,
        "cot": 2000,
        # At SeqGAN's own 0.01 a batch of 64 sequences moves a network of this size too far.
        "learners": {
            "seqgan": {"generator_lr": 0.001, "baseline": "batch"},
            "maligan": {"generator_lr": 0.005, "prefix_start": 20, "prefix_updates": 2},
            "rankgan": {"generator_lr": 0.001, "baseline": "batch"},
        },
    },
    "full": {
        "seeds": 3,
        "task": {},
        "policy": _NETWORK,
        "run": {"evaluate-every": 1000, "evaluate-sequences": 10000},
        "mle": 18840,
        "warmup": 7800,
        "rounds": 200,
        "discriminator": {"filters": "official"},
        "completions": 16,
        "cot": 100_000,
        "learners": {},
    },
}
_UPDATES_OF_D = {"smoke": 2, "cpu": 5, "full": 780}  # a round


def command(name: str, scale_name: str, seed: int) -> list[str]:
    """The options of one training run."""
    scale = SCALES[scale_name]
    learner: dict[str, Any] = {}
    network: list[str] = []
    updates = scale["cot"]
    if name == "mle":
        learner["lr"] = 0.01
        updates = scale["mle"] * (1 if scale_name == "full" else 3)
    elif name != "cot":
        of_discriminator = _UPDATES_OF_D[scale_name]
        learner = {
            "mle_updates": scale["mle"],
            "discriminator_warmup": scale["warmup"],
            "discriminator_updates": of_discriminator,
        }
        if name != "leakgan":  # whose rates are its own
            learner["lr"] = 0.01
        if name in ("seqgan", "rankgan"):
            learner["completions"] = scale["completions"]
        home = "policy.discriminator" if name == "leakgan" else "learner.discriminator"
        network = options_of(f"{home}.", scale["discriminator"])
        a_round = 1 + of_discriminator + (name == "leakgan")  # which has one of MLE in each
        updates = scale["mle"] + scale["warmup"] + scale["rounds"] * a_round
    learner |= scale["learners"].get(name, {})
    words = ["--seed", str(seed), "--task", "oracle", "--learner", name]
    words += ["--policy", "leakgan" if name == "leakgan" else "lstm", "--updates", str(updates)]
    words += options_of("task.", scale["task"]) + options_of("learner.", learner)
    words += options_of("policy.", scale["policy"]) + network
    return words + options_of("", {"log-every": 50, "checkpoint-every": 10**6, **scale["run"]})


def curve(run: Path) -> list[dict[str, float]]:
    """All evaluations of a run, in order."""
    return [record for record in RunFolder(run).read_metrics() if record["kind"] == "evaluation"]


def moments(run: Path, pretraining: int) -> dict[str, dict[str, float]]:
    """The evaluations that the table shows."""
    records = curve(run)
    before = [record for record in records if record["update"] <= pretraining]
    found = {
        "best NLL validation": min(records, key=lambda record: record["nll_validation"]),
        "end": records[-1],
    }
    return found | ({"after MLE": before[-1]} if before else {})


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--learners", default=",".join(PUBLISHED), help="some of them")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--params", type=Path, default=None, help="SeqGAN's own oracle, .npz")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--chart", type=Path, default=None, help="also draw NLL_test's curves here")
    options = parser.parse_args()
    set_up(1)
    out = (options.out or Path("runs") / f"adversarial_oracle-{options.scale}").resolve()
    names = [name for name in options.learners.split(",") if name]
    for name in names:
        if name not in PUBLISHED:
            parser.error(f"unknown learner {name!r}; there are {', '.join(PUBLISHED)}")
    given = [] if options.params is None else ["--task.params", str(options.params.resolve())]
    began = time.perf_counter()

    def words(name: str, seed: int) -> list[str]:
        return [*command(name, options.scale, seed), *given]

    scale = SCALES[options.scale]
    config = read_options(["--out", str(out / "unused"), *words("mle", 0)])[1]
    task = setup.build_task(config)
    for split in ("train", "validation", "test"):  # drawn once
        task.split(split)
    runs = {name: [out / f"{name}-seed{seed}" for seed in range(scale["seeds"])] for name in names}
    train_all(
        {run: words(name, seed) for name in names for seed, run in enumerate(runs[name])},
        options.jobs,
    )
    pretraining = scale["mle"] + scale["warmup"]
    found = {
        name: [moments(run, 0 if name in ("mle", "cot") else pretraining) for run in folders]
        for name, folders in runs.items()
    }
    report(found, references(task), options.scale)
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes; {machine()}")
    if options.json:
        options.json.write_text(
            json.dumps({"scale": options.scale, "results": found} | machine(), indent=2)
        )
    if options.chart:
        draw(runs, options.chart)


def references(task: Any) -> dict[str, dict[str, float]]:
    """NLL_oracle and NLL_test of what needs no training."""
    test = head(task.split("test"), 0)
    rows = {
        "unigram": unigram(task.space, task.split("train")),
        "uniform": uniform(task.space),
        "oracle": task.oracle(),
    }
    return {
        name: {key: value.mean for key, value in figures(policy, task, test, 2000, 0).items()}
        for name, policy in rows.items()
    }


def report(
    found: Mapping[str, list[dict[str, dict[str, float]]]],
    rows_of: Mapping[str, dict[str, float]],
    scale: str,
) -> None:
    """The tables: every learner at its moments, reference rows, published values."""
    rows = []
    for name, runs in found.items():
        for moment in runs[0]:
            at = [run[moment] for run in runs]
            columns = [interval([record[key] for record in at]) for key in _COLUMNS]
            updates = "/".join(str(int(record["update"])) for record in at)
            rows.append([f"{name}, {moment}", *columns, updates])
    rows += [[name, *(f"{row[key]:.3f}" for key in _COLUMNS), ""] for name, row in rows_of.items()]
    seeds = SCALES[scale]["seeds"]
    print_table(
        f"the oracle, scale {scale}, temperature 1: mean of {seeds} seeds ± half a 95% interval",
        ["", "NLL_oracle", "NLL_test", "at updates"],
        rows,
    )
    if "mle" in found:
        differences = [
            [
                name,
                *(
                    paired(
                        [run[moment][key] for run in runs],
                        [run[moment][key] for run in found["mle"]],
                    )
                    for moment in ("best NLL validation", "end")
                    for key in _COLUMNS
                ),
            ]
            for name, runs in found.items()
            if name != "mle"
        ]
        print_table(
            "minus MLE at the same moment, paired by seed (negative: lower than MLE's)",
            ["", "best: NLL_oracle", "best: NLL_test", "end: NLL_oracle", "end: NLL_test"],
            differences,
        )
    print_table(
        "published, on the oracle of 5,000 words",
        ["", "NLL_oracle", "NLL_test"],
        [[name, *PUBLISHED[name]] for name in found],
    )


_COLUMNS = ("nll_oracle", "nll_test")


def draw(runs: Mapping[str, list[Path]], path: Path) -> None:
    """The figures of the first seeds while they train."""
    panels = [
        chart.Panel(
            f"{title}, seed 0",
            {
                name: [(record["update"], record[key]) for record in curve(folders[0])]
                for name, folders in runs.items()
            },
        )
        for key, title in zip(_COLUMNS, ("NLL_oracle", "NLL_test"), strict=True)
    ]
    chart.write(path, panels)


if __name__ == "__main__":
    main()
