"""A reward of the user's own, by SeqGAN: more captions that end with a full stop.

    python -m benchmarks.reward_text --scale smoke|cpu|full [--coco FILE] [--test FILE]

The reward is `benchmarks/full_stop.py`, named on the command line as any plug-in is. Each seed
trains MLE; SeqGAN goes on from it (`--init`), with the discriminator as half of the reward, and
with the user's reward alone. Shown are the share of texts that end as they should, NLL of the test
split, BLEU against it and self-BLEU, all of the same samples at temperature 1. `smoke` needs no
file: it takes the English that ships with Python.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.common import interval, machine, options_of, print_table, train_all
from benchmarks.full_stop import FullStop, FullStopConfig
from rubout.cli.show import trained_policy
from rubout.evaluation.bleu import bleu, self_bleu
from rubout.evaluation.draws import draw
from rubout.evaluation.nll import nll
from rubout.process import set_up
from rubout.tape import survivors
from rubout.training import setup
from rubout.training.run_folder import RunFolder

SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "task": ["--task", "python-docs"],
        "mle": {"updates": 4},
        "policy": {"embedding": 8, "hidden": 8},
        "seqgan": {"discriminator-warmup": 1, "discriminator-updates": 1, "completions": 2},
        "rounds": 2,
        "samples": 20,
    },
    "cpu": {
        "seeds": 3,
        "mle": {"updates": 1000, "evaluate-every": 250},
        "policy": {},
        "seqgan": {"discriminator-warmup": 100, "discriminator-updates": 2},
        "rounds": 60,
        "samples": 1000,
    },
    "full": {
        "seeds": 3,
        "mle": {"updates": 5000, "evaluate-every": 250, "policy.dropout": 0.3},
        "policy": {"embedding": 256, "hidden": 512},
        "seqgan": {"discriminator-warmup": 1000, "discriminator-updates": 5},
        "rounds": 300,
        "samples": 10_000,
    },
}
_SHARES = {"seqgan, half the reward": 0.5, "seqgan, the reward alone": 0.0}
_ADVERSARIAL = {"mle-updates": 0, "generator-lr": 0.001, "baseline": "batch"}


def commands(
    scale: dict[str, Any], task: list[str], out: Path, seed: int
) -> dict[str, tuple[Path, list[str]]]:
    """The runs of a seed, by row: their folders and options."""
    shared = [*task, "--seed", str(seed), *options_of("policy.", scale["policy"])]
    start = out / f"mle-seed{seed}"
    found = {"mle": (start, [*shared, "--learner", "mle", *options_of("", scale["mle"])])}
    for name, share in _SHARES.items():
        judged = scale["seqgan"] if share else {**scale["seqgan"], "discriminator-warmup": 0}
        learner = {**judged, **_ADVERSARIAL, "discriminator-share": share}
        if not share:
            learner["discriminator-updates"] = 0
        each = 1 + learner["discriminator-updates"]
        updates = learner["discriminator-warmup"] + scale["rounds"] * each
        words = [*shared, "--learner", "seqgan", "--reward", "benchmarks.full_stop:FullStop"]
        words += ["--init", str(start), "--updates", str(updates), "--evaluate-every", "60"]
        run = out / f"seqgan-{share:g}-seed{seed}"
        found[name] = (run, words + options_of("learner.", learner))
    return found


def figures(run: Path, samples: int, seed: int) -> dict[str, float]:
    """What the table shows of one run, in its final state where that stands for it."""
    folder = RunFolder(run)
    config = folder.config()
    task = setup.build_task(config)
    policy, _ = trained_policy(folder, config)
    drawn = draw(policy, samples, seed)
    texts = [tuple(row) for row in survivors(policy.space, drawn).lists()]
    real = [tuple(row) for row in survivors(task.space, task.split("test")).lists()]
    of_test, of_own = bleu(texts, real), self_bleu(texts)
    return {
        "ends with .": float(FullStop(policy.space, FullStopConfig(), task.codec)(drawn).mean()),
        "tokens": float(drawn.num_actions_B.float().mean()) - 1,
        "NLL test": nll(policy, task.split("test")).mean,
        "BLEU-2": of_test[2],
        "BLEU-4": of_test[4],
        "self-BLEU-2": of_own[2],
        "self-BLEU-4": of_own[4],
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--coco", type=Path, default=Path("../shared/data/image_coco_train.txt"))
    parser.add_argument("--test", type=Path, default=Path("../shared/data/image_coco_test.txt"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    set_up(1)
    scale = SCALES[options.scale]
    out = (options.out or Path("runs") / f"reward_text-{options.scale}").resolve()
    given = ["--task", str(options.coco.resolve()), "--task.test", str(options.test.resolve())]
    began = time.perf_counter()
    runs = [commands(scale, scale.get("task", given), out, seed) for seed in range(scale["seeds"])]
    for name in runs[0]:  # MLE first: the others begin from it
        train_all(dict(run[name] for run in runs), options.jobs)
    results = {
        name: [figures(run[name][0], scale["samples"], seed) for seed, run in enumerate(runs)]
        for name in runs[0]
    }
    header = [*results["mle"][0]]
    print_table(
        f"scale {options.scale}, {scale['samples']} samples: mean of {scale['seeds']} seeds "
        f"± half a 95% interval",
        ["", *header],
        [
            [name, *(interval([found[key] for found in each]) for key in header)]
            for name, each in results.items()
        ],
    )
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes; {machine()}")
    if options.json:
        value = {"scale": options.scale, "results": results} | machine()
        options.json.write_text(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
