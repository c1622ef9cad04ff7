"""A sweep over 80 temperatures of a trained oracle model: where its time goes.

    python -m benchmarks.sweep --scale smoke|cpu|full [--run RUN]

One thread. "One at a time" is the named baseline: the test data scored anew at every temperature,
as a loop over temperatures would. The floor of drawing is its multiply-adds, at the rate of a large
matrix product here, and one exponential for each logit, at the rate of `torch.exp` on a block that
stays in the cache. `--run` takes a trained run on an oracle; without it one is trained.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import best, machine, options_of, print_table, train_all
from rubout.cli.show import trained_policy
from rubout.evaluation import truth
from rubout.evaluation.draws import draw, head
from rubout.evaluation.nll import log_likelihoods, log_likelihoods_at
from rubout.evaluation.sweep import ORACLE_MULTIPLIERS, sweep
from rubout.process import set_up
from rubout.training import setup
from rubout.training.run_folder import RunFolder

SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "task": {"vocabulary": 50, "train": 200, "validation": 100, "test": 200},
        "updates": 10,
        "samples": 20,
    },
    "cpu": {
        "task": {"vocabulary": 500, "train": 2000, "validation": 2000, "test": 5000},
        "updates": 360,
        "samples": 1000,
    },
    "full": {"task": {}, "updates": 1570, "samples": 10_000},
}


def rates() -> tuple[float, float]:
    """Multiply-adds and exponentials a second, on one thread."""
    square, block = torch.randn(1024, 1024), torch.randn(2**16)
    products = best(lambda: square @ square, 10)
    exponentials = best(lambda: [torch.exp(block) for _ in range(100)], 5) / 100
    return 1024**3 / products, len(block) / exponentials


def drawing_floor(policy: Any, tokens: int) -> float:
    """Seconds that drawing so many tokens from an LSTM takes at the rates of the machine."""
    matrices = [  # an embedding is looked up, not multiplied
        value.numel()
        for name, value in policy.named_parameters()
        if value.ndim == 2 and "embedding" not in name
    ]
    products, exponentials = rates()
    return tokens * (sum(matrices) / products + policy.space.size / exponentials)


def trained(run: Path | None, scale: str) -> RunFolder:
    """The run that is given, or one of maximum likelihood trained for it."""
    if run is not None:
        return RunFolder.existing(run.resolve())
    size, run = SCALES[scale], (Path("runs") / f"sweep-{scale}" / "mle").resolve()
    words = ["--task", "oracle", "--learner", "mle", "--learner.lr", "0.01"]
    words += ["--policy.embedding", "32", "--policy.hidden", "32"]
    words += ["--updates", str(size["updates"]), *options_of("task.", size["task"])]
    train_all({run: words}, 1)
    return RunFolder.existing(run)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--run", type=Path, default=None)
    options = parser.parse_args()
    set_up(1)
    scale = SCALES[options.scale]
    folder = trained(options.run, options.scale)
    policy, _ = trained_policy(folder, folder.config(), device="cpu")
    task = setup.build_task(folder.config())
    oracle = task.oracle()
    assert oracle is not None
    samples = scale["samples"]
    test = head(task.split("test"), samples)
    count = len(ORACLE_MULTIPLIERS)

    began = time.perf_counter()
    sweep(policy, task, test, ORACLE_MULTIPLIERS, samples, 0)
    whole = time.perf_counter() - began
    few = ORACLE_MULTIPLIERS[::8]
    drawn = [draw(policy, samples, 0, temperature=1 / multiplier) for multiplier in few]
    parts = {
        "drawing": sum(
            best(lambda m=m: draw(policy, samples, 0, temperature=1 / m), 1) for m in few
        )
        * count
        / len(few),
        "scoring samples under the oracle": sum(
            best(lambda one=one: truth.nll_oracle(oracle, policy.space, one), 1) for one in drawn
        )
        * count
        / len(few),
        "scoring test data, one pass": best(
            lambda: log_likelihoods_at(policy, test, ORACLE_MULTIPLIERS)
        ),
    }
    alone = count * best(lambda: log_likelihoods(policy, test, temperature=0.7))
    floor = drawing_floor(policy, count * samples * task.space.max_length)
    rows = [[name, f"{part:.2f}", f"{part / whole:.0%}"] for name, part in parts.items()]
    rows += [
        ["the sweep, measured whole", f"{whole:.2f}", "100%"],
        ["the floor of drawing", f"{floor:.2f}", f"{floor / whole:.0%}"],
        ["scoring test data, one at a time", f"{alone:.2f}", f"{alone / whole:.0%}"],
    ]
    print_table(
        f"{count} temperatures, {samples:,} samples each, {len(test):,} test sequences of "
        f"{task.space.max_length} tokens of {task.space.num_tokens:,}; one thread",
        ["", "seconds", "of the sweep"],
        rows,
    )
    ratio = alone / parts["scoring test data, one pass"]
    print(f"scoring, one at a time over one pass: {ratio:.1f}")
    print(f"drawing reaches {floor / parts['drawing']:.0%} of its floor")
    print(machine())


if __name__ == "__main__":
    main()
