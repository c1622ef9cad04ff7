"""SequenceMatch, behavioural cloning and MLE on sums: who types right, and who mends what is wrong.

    python -m benchmarks.arithmetic --scale smoke|cpu|easy|full [--jobs 2] [--out DIR]

Every run is `rubout train --task arithmetic --policy transformer ...`. For each seed a network is
trained by MLE first; from there every objective goes on (`--init`) for the same number of updates,
on the same batches, MLE as well: they differ in the objective, the backspace and the slips in the
data. The last checkpoint of each is evaluated at the temperature of its best exact match on the
validation questions: MLE is tuned as everybody else is. Then, besides exact match on the test
questions,

- wrong digit: the model is handed the beginning of the right answer with a wrong digit at its end,
  as if it had typed that itself. How often does it rub the digit out at once, and end right?
- right digit: the same beginnings with the right digit. How often does it end right?

Scale cpu has the published questions, in bases 2 to 16 with operands of 3 to 10 digits together, of
which a small network learns few; scale easy asks in base 10 alone, with 2 to 4 digits.
Runs that are finished under --out are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import interval, machine, options_of, paired, print_table, train_all
from rubout.cli.show import trained_policy
from rubout.evaluation.draws import continuations, draw
from rubout.evaluation.nll import nll
from rubout.policy import Policy
from rubout.process import set_up
from rubout.rollout.draw import seed_of, uniforms
from rubout.task import Task
from rubout.training import setup
from rubout.training.run_folder import RunFolder
from rubout.types import Sequences, Trajectories


@dataclass(frozen=True)
class Cell:
    """One row of the table: an objective, a keyboard and the slips in the data."""

    learner: str  # mle, bc, chi2, mixture
    backspace: bool
    noise: float = 0.0
    kind: str = "plausible"
    alpha: float = 0.01

    @property
    def name(self) -> str:
        """As the table has it."""
        keys = "backspace" if self.backspace else "none"
        slips = f"{self.noise:g} {self.kind}" if self.noise else "no slips"
        alpha = f" {self.alpha:g}" if self.alpha != Cell.alpha else ""
        return f"{self.learner}{alpha}, {keys}, {slips}"

    def words(self) -> list[str]:
        """What makes `rubout train` train it."""
        learner = {"mle": "mle", "bc": "behavioural_cloning"}.get(self.learner, "sequence_match")
        words = ["--learner", learner]
        if learner == "sequence_match":
            divergence = {"chi2": "chi2", "mixture": "chi2-mixture"}[self.learner]
            words += ["--learner.divergence", divergence, "--learner.alpha", str(self.alpha)]
        if self.backspace:
            words += ["--env.backspace"]
        if learner != "mle":
            words += ["--learner.noise.rate", str(self.noise), "--learner.noise.kind", self.kind]
        return words


BASELINE = Cell("mle", backspace=False)
MATTER = (
    BASELINE,
    Cell("bc", backspace=True, noise=0.03),
    Cell("mixture", backspace=True, noise=0.03),
    Cell("mixture", backspace=True),
    Cell("chi2", backspace=True, noise=0.03),
    Cell("mixture", backspace=True, noise=0.03, alpha=1.0),
)
GRID = (
    BASELINE,
    Cell("chi2", backspace=False),
    Cell("mixture", backspace=False),
    *(Cell(learner, backspace=True) for learner in ("bc", "chi2", "mixture")),
    *(
        Cell(learner, backspace=True, noise=noise, kind=kind)
        for learner in ("bc", "chi2", "mixture")
        for noise in (0.01, 0.03, 0.1)
        for kind in ("plausible", "random")
    ),
)
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "policy": {"layers": 1, "width": 16},
        "task": {"train": 64, "validation": 16, "test": 16},
        "learner": {"lr": 0.001},
        "match": {"bc_updates": 4, "anneal_updates": 2, "sample_every": 2},
        "pretraining": 4,
        "updates": 8,
        "seeds": 2,
        "cells": MATTER[:3],
        "temperatures": (1.0, 0.3),
    },
    "cpu": {
        "policy": {"layers": 2, "width": 128},
        "task": {},
        "learner": {"lr": 0.001, "lr_warmup": 100},
        "match": {"bc_updates": 150, "anneal_updates": 100, "stride": 4},
        "pretraining": 1500,
        "updates": 750,
        "seeds": 3,
        "cells": MATTER,
        "temperatures": (1.0, 0.7, 0.4, 0.1),
    },
    "easy": {  # so easy that a small network learns it within an hour
        "policy": {"layers": 2, "width": 128},
        "task": {
            "smallest_base": 10,
            "largest_base": 10,
            "least_entropy": 2.0,
            "most_entropy": 4.0,
        },
        "learner": {"lr": 0.001, "lr_warmup": 100},
        "match": {"bc_updates": 200, "anneal_updates": 100, "stride": 4},
        "pretraining": 4000,
        "updates": 1000,
        "seeds": 3,
        "cells": (MATTER[0], MATTER[1], MATTER[2], MATTER[5]),
        "temperatures": (1.0, 0.7, 0.4, 0.1),
    },
    "full": {
        "policy": {"layers": 8, "width": 256, "heads": 8, "dropout": 0.1},
        "task": {},
        "learner": {"lr": 0.0003, "lr_warmup": 500},
        "match": {"bc_updates": 2000, "anneal_updates": 2000},
        "pretraining": 10000,
        "updates": 10000,
        "seeds": 3,
        "cells": GRID,
        "temperatures": (1.0, 0.7, 0.4, 0.1),
    },
}
COLUMNS = ("exact match", "deleted at once", "wrong digit, ends right", "right digit, ends right")
MORE = ("temperature", "exact match T=1", "deletions per key", "NLL test")


def command(scale: dict[str, Any], cell: Cell, seed: int, start: Path | None) -> list[str]:
    """The options of one training run, from a pretrained one or from nothing."""
    updates = scale["pretraining"] if start is None else scale["updates"]
    quarter = max(updates // 4, 1)
    run = {"seed": seed, "updates": updates, "samples": 0}
    run |= {"evaluate_every": quarter, "checkpoint_every": quarter}
    words = ["--task", "arithmetic", "--policy", "transformer", *cell.words()]
    words += options_of("", run) + ([] if start is None else ["--init", str(start)])
    words += options_of("policy.", scale["policy"]) + options_of("task.", scale["task"])
    words += options_of("learner.", scale["learner"])
    if cell.learner in ("chi2", "mixture"):
        words += options_of("learner.", scale["match"])
    return words


def exact(policy: Policy, task: Task, asked: Trajectories, temperature: float) -> float:
    """Share of questions answered exactly."""
    drawn = draw(policy, len(asked), 0, asked.prompts, temperature)
    return float(task.score(drawn, continuations(task, asked))["exact_match"].mean())


def cut(task: Task, asked: Trajectories) -> tuple[Trajectories, Sequences, Sequences]:
    """Answers cut after a random character, and with a wrong digit in that place.

    Returns:
        the questions whose chosen character can be a wrong digit, the right beginnings of their
        answers, and those with the wrong end.
    """
    answers = continuations(task, asked)
    rows = torch.arange(len(asked))
    place = (uniforms(seed_of("cut"), rows, 0) * answers.lengths_B).long()
    numbers = rows.unsqueeze(1) * 2**20 + torch.arange(asked.actions_BT.shape[1])
    slips = task.slips(asked, uniforms(seed_of("cut"), numbers, 1)).gather(1, place.unsqueeze(1))
    right = answers.tokens_BL.gather(1, place.unsqueeze(1))
    wrong = Sequences(answers.tokens_BL.scatter(1, place.unsqueeze(1), slips), place + 1)
    chosen = (slips != right).squeeze(1)
    return asked[chosen], Sequences(answers.tokens_BL, place + 1)[chosen], wrong[chosen]


def figures(policy: Policy, task: Task, scale: dict[str, Any]) -> dict[str, float]:
    """All columns for one policy."""
    validation, test = task.split("validation"), task.split("test")
    shares = {t: exact(policy, task, validation, t) for t in scale["temperatures"]}
    best = max(shares, key=lambda t: shares[t])
    drawn = draw(policy, len(test), 0, test.prompts, best)
    scored = task.score(drawn, continuations(task, test))["exact_match"]
    key = policy.space.backspace_id
    deletions = (drawn.mask_BT & (drawn.actions_BT == key)).sum() / drawn.num_actions_B.sum()
    found = {
        "exact match": float(scored.mean()),
        "temperature": best,
        "exact match T=1": exact(policy, task, test, 1.0),
        "deletions per key": float(deletions),
        "NLL test": nll(policy, test).mean,
    }
    asked, right, wrong = cut(task, test)
    answers = continuations(task, asked)
    for name, prefixes in (("right", right), ("wrong", wrong)):
        typed = draw(policy, len(asked), 0, asked.prompts, best, prefixes=prefixes)
        ends = task.score(typed, answers)["exact_match"].mean()
        found[f"{name} digit, ends right"] = float(ends)
    next_key = typed.actions_BT.gather(1, wrong.lengths_B.unsqueeze(1)).squeeze(1)
    found["deleted at once"] = float((next_key == key).float().mean()) if key >= 0 else 0.0
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=None, help="default: runs/arithmetic-SCALE")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    out = (options.out or Path("runs") / f"arithmetic-{options.scale}").resolve()
    set_up(1)
    began = time.perf_counter()

    starts = {seed: out / f"pretrained-seed{seed}" for seed in range(scale["seeds"])}
    train_all(
        {path: command(scale, BASELINE, seed, None) for seed, path in starts.items()}, options.jobs
    )
    folders = {
        (cell, seed): out / f"{cell.name.replace(', ', '-').replace(' ', '_')}-seed{seed}"
        for seed in range(scale["seeds"])
        for cell in scale["cells"]
    }
    train_all(
        {path: command(scale, cell, seed, starts[seed]) for (cell, seed), path in folders.items()},
        options.jobs,
    )

    results: dict[Cell, list[dict[str, float]]] = {cell: [] for cell in scale["cells"]}
    for (cell, _), path in folders.items():
        folder = RunFolder(path)
        policy, _ = trained_policy(folder, folder.config(), "last")
        results[cell].append(figures(policy, setup.build_task(folder.config()), scale))
    report(results, options.scale, scale, time.perf_counter() - began)
    if options.json:
        value = {cell.name: runs for cell, runs in results.items()}
        document = {"scale": options.scale, "results": value} | machine()
        options.json.write_text(json.dumps(document, indent=2))


def report(
    results: dict[Cell, list[dict[str, float]]], name: str, scale: dict[str, Any], seconds: float
) -> None:
    """The table, and the differences from MLE seed by seed."""
    columns = (*COLUMNS, *MORE)
    rows = [
        [cell.name, *(interval([run[column] for run in runs]) for column in columns)]
        for cell, runs in results.items()
    ]
    about = f"scale {name}, {scale['pretraining']:,} updates of MLE, then {scale['updates']:,}"
    print_table(
        f"arithmetic, {about}: mean over {scale['seeds']} seeds ± half a 95% interval",
        ["objective, keyboard, slips", *columns],
        rows,
    )
    differences = [
        [
            f"{cell.name} minus mle",
            *(
                paired([run[column] for run in runs], [run[column] for run in results[BASELINE]])
                for column in columns[:1]
            ),
        ]
        for cell, runs in results.items()
        if cell != BASELINE
    ]
    print_table("exact match, differences seed by seed", ["", "exact match"], differences)
    print("Shares of 1. Each model at the temperature of its best exact match on validation.")
    print(f"{seconds / 60:.1f} minutes; {machine()}")


if __name__ == "__main__":
    main()
