"""`rubout evaluate RUN`: a run's policy beside its reference rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from rubout.cli import show, tables
from rubout.cli.parse import parse
from rubout.errors import UserError
from rubout.evaluation.evaluate import evaluate
from rubout.training import setup
from rubout.training.run_folder import RunFolder


@dataclass(frozen=True)
class EvaluateOptions:
    """Score a run's policy on its task's test split; writes evaluation.json into the run."""

    run: Annotated[Path, tyro.conf.Positional]
    """RUN folder."""
    checkpoint: Literal["best", "last"] | None = None
    """Best by validation NLL, or the newest (default: the one that stands for its learner: the
    newest where likelihood is not what it optimises)."""
    num_samples: int = 2000
    """Sequences drawn from each row for NLL oracle and for the figures of the backspace; most
    prompts for a task's own score."""
    temperature: float = 1.0
    """Divides the model's logits, in sampling and in scoring alike."""
    seed: int = 0
    """Of the samples."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the policy runs, wherever it was trained."""
    threads: int = 1
    """CPU threads."""
    baseline: Path | None = None
    """A RUN on the same task, for a row beside this one's."""
    json: bool = False
    """Print one JSON document and nothing else."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(EvaluateOptions, argv, "rubout evaluate")
    if not options.temperature > 0 or options.num_samples < 1 or options.threads < 1:
        raise UserError("--temperature, --num-samples and --threads must be positive")
    torch.set_num_threads(options.threads)
    folder = RunFolder.existing(options.run.resolve())
    config = folder.config()
    policy, path = show.trained_policy(folder, config, options.checkpoint, options.device)
    task = setup.build_task(config)
    if task.codec.fingerprint != folder.codec().fingerprint:
        raise UserError(f"the task's data have changed: not the vocabulary {folder.path} learned")
    baselines = {}
    if options.baseline is not None:
        other = show.baseline(options.baseline, task)
        baselines = show.row_of(other, options.device)
    rows = evaluate(
        policy,
        task,
        num_samples=options.num_samples,
        seed=options.seed,
        temperature=options.temperature,
        baselines=baselines,
    )
    value = show.write_evaluation(folder, path, rows, options.num_samples, options.temperature)
    if options.json:
        print(json.dumps(value))
    else:
        print(f"{path}")
        tables.show(rows, task)
    return 0
