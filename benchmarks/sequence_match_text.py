"""SequenceMatch with a backspace on text, beside MLE and behavioural cloning.

    python -m benchmarks.sequence_match_text --scale smoke|cpu|full [--coco FILE] [--jobs 2]

Every run is `rubout train`, and every figure is of the evaluation that it ends with: NLL of the
test split with the backspace among the actions and without it, and what the backspace does. MLE and
behavioural cloning stand by their checkpoint of the best validation NLL, SequenceMatch by its last.
Besides the figures, a few sequences of seed 0 are printed with what was rubbed out between ~~.
Captions of images are read from --coco; without that file they are left out, and this is said.
Runs that are finished under --out are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.common import interval, machine, options_of, paired, print_table, train_all
from rubout.cli.show import trained_policy
from rubout.evaluation.draws import draw
from rubout.evaluation.trace import logs, pieces, plain
from rubout.process import set_up
from rubout.report import chart
from rubout.training.run_folder import RunFolder

SLIPS = ["--env.backspace", "--learner.noise.rate", "0.01", "--learner.noise.kind", "plausible"]
LEARNERS = {
    "mle": ["--learner", "mle"],
    "behavioural_cloning": ["--learner", "behavioural_cloning", *SLIPS],
    "sequence_match": ["--learner", "sequence_match", *SLIPS],
}
FIGURES = {
    "nll_test": "NLL test",
    "nll_test_without": "NLL, no backspace",
    "backspace_rate": "deletions per key",
    "backspace_run": "run",
    "redo_rate": "same again",
    "actions_per_token": "keys per token",
    "corrected_errors": "errors deleted",
    "false_alarms": "false alarms",
}
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "tasks": {"python-docs": {"updates": 8, "evaluate-every": 4}},
        "match": {"bc-updates": 4, "anneal-updates": 2, "sample-every": 2},
        "seeds": 2,
    },
    "cpu": {
        "tasks": {
            "python-docs": {"updates": 800, "evaluate-every": 100, "policy.dropout": 0.5},
            "coco": {"updates": 1000, "evaluate-every": 200},
        },
        "match": {"bc-updates": 400, "anneal-updates": 200, "stride": 4},
        "seeds": 3,
    },
    "full": {
        "tasks": {
            "python-docs": {"updates": 2000, "evaluate-every": 100, "policy.dropout": 0.5},
            "coco": {
                "updates": 20000,
                "evaluate-every": 500,
                "policy": "transformer",
                "learner.lr": 0.0003,
                "learner.lr-warmup": 500,
            },
        },
        "match": {"bc-updates": 5000, "anneal-updates": 2000},
        "seeds": 3,
    },
}


def command(scale: dict[str, Any], task: str, coco: Path, learner: str, seed: int) -> list[str]:
    """The options of one training run."""
    words = ["--task", str(coco) if task == "coco" else task, "--seed", str(seed)]
    words += [*LEARNERS[learner], *options_of("", scale["tasks"][task])]
    if learner == "sequence_match":
        words += options_of("learner.", scale["match"])
    return words


def figures(path: Path) -> dict[str, float]:
    """The model's means in a run's evaluation.json."""
    row = json.loads((path / "evaluation.json").read_text())["rows"][0]
    return {name: row[name]["mean"] for name in FIGURES if name in row}


def report(task: str, results: dict[str, list[dict[str, float]]], seeds: int, about: str) -> None:
    """The table of one task, and what SequenceMatch changes seed by seed."""

    def column(runs: list[dict[str, float]], name: str) -> list[float]:
        return [run[name] for run in runs if name in run]

    rows = [
        [name, *(interval(found) if (found := column(runs, key)) else "" for key in FIGURES)]
        for name, runs in results.items()
    ]
    print_table(
        f"{task}, {about}: mean over {seeds} seeds ± half a 95% interval",
        ["", *FIGURES.values()],
        rows,
    )
    ours = results["sequence_match"]
    differences = [
        [
            f"sequence_match minus {name}",
            *(
                paired(column(ours, key), column(runs, key)) if column(runs, key) else ""
                for key in FIGURES
            ),
        ]
        for name, runs in results.items()
        if name != "sequence_match"
    ]
    print_table("differences seed by seed", ["", *FIGURES.values()], differences)


def traces(path: Path, count: int = 5) -> None:
    """A few sequences of a run, those with a deletion first."""
    folder = RunFolder(path)
    policy, _ = trained_policy(folder, folder.config())
    codec, space = folder.codec(), folder.space()
    unknown = () if codec.unknown_id is None else (codec.unknown_id,)
    drawn = logs(draw(policy, 200, 0, suppress=unknown))
    drawn.sort(key=lambda log: space.backspace_id not in log[1])
    print(f"\n{path.name}, of 200 sequences:")
    for prompt, actions in drawn[:count]:
        print(f"  {plain(pieces(codec, space, prompt, actions))}")


def curves(folders: dict[str, Path]) -> list[chart.Panel]:
    """Validation NLL of each learner, and what SequenceMatch's own figures do, of one seed."""
    records = {
        name: [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for name, path in folders.items()
    }

    def line(name: str, figure: str) -> list[tuple[float, float]]:
        return [(item["update"], item[figure]) for item in records[name] if figure in item]

    ours = "sequence_match"
    return [
        chart.Panel(
            "validation NLL, nats", {name: line(name, "nll_validation") for name in records}
        ),
        chart.Panel(
            "penalty per action",
            {
                "on data": line(ours, "penalty_data"),
                "on rollouts": line(ours, "penalty_model"),
            },
        ),
        chart.Panel("share of deletions in rollouts", {ours: line(ours, "rollout/backspaces")}),
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--coco", type=Path, default=Path("../shared/data/image_coco_train.txt"))
    parser.add_argument("--out", type=Path, default=None, help="default: runs/text-SCALE")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument(
        "--svg", type=Path, default=None, help="also draw the curves of seed 0 here"
    )
    options = parser.parse_args()
    scale = SCALES[options.scale]
    out = (options.out or Path("runs") / f"text-{options.scale}").resolve()
    set_up(1)
    began = time.perf_counter()
    tasks = [task for task in scale["tasks"] if task != "coco" or options.coco.is_file()]
    if "coco" in scale["tasks"] and "coco" not in tasks:
        print(f"left out: the captions, since there is no {options.coco}; give --coco FILE")

    folders = {
        (task, learner, seed): out / f"{task}-{learner}-seed{seed}"
        for task in tasks
        for seed in range(scale["seeds"])
        for learner in LEARNERS
    }
    coco = options.coco.resolve()
    train_all(
        {
            path: command(scale, task, coco, learner, seed)
            for (task, learner, seed), path in folders.items()
        },
        options.jobs,
    )
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for (task, learner, _), path in folders.items():
        found.setdefault(task, {}).setdefault(learner, []).append(figures(path))
    for task, results in found.items():
        about = f"scale {options.scale}, {scale['tasks'][task]['updates']:,} updates"
        report(task, results, scale["seeds"], about)
        traces(folders[(task, "sequence_match", 0)])
    print(f"\n{(time.perf_counter() - began) / 60:.1f} minutes; {machine()}")
    if options.svg:
        last = tasks[-1]
        chart.write(options.svg, curves({name: folders[(last, name, 0)] for name in LEARNERS}))
    if options.json:
        document = {"scale": options.scale, "results": found} | machine()
        options.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
