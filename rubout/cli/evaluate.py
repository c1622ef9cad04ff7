"""`rubout evaluate RUN`: a run's policy beside its reference rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rubout.cli import show, sweeps, tables
from rubout.cli.parse import parse
from rubout.errors import UserError
from rubout.evaluation.evaluate import evaluate, paired
from rubout.evaluation.quality import Yardstick, bleu_signature
from rubout.policy import Policy
from rubout.process import set_up
from rubout.task import Task
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
    """A RUN on the same task, for a row beside this one's, and the differences."""
    references: bool = True
    """Rows of the oracle, a unigram model and a uniform one."""
    quality: bool = False
    """Also BLEU, self-BLEU, diversity, LM scores, Frechet distance and, where mauve-text is
    installed, MAUVE, of samples and of training data (docs/metrics.md)."""
    sweep: bool = False
    """Also score at many temperatures; writes sweep.json into the run."""
    multipliers: tuple[float, ...] | None = None
    """Of the sweep: what the logits are multiplied by, 1 / temperature (default: those of Caccia et
    al., 80 from 0.10 to 2.47 where the truth is known, else 19 from 0.9 to 4)."""
    json: bool = False
    """Print one JSON document and nothing else."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(EvaluateOptions, argv, "rubout evaluate")
    _check(options)
    set_up(options.threads)
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
    yardstick = Yardstick(task, options.num_samples, options.seed) if options.quality else None
    if yardstick is not None and yardstick.count < options.num_samples and not options.json:
        print(
            f"samples are compared {yardstick.count:,} at a time: as many as there are to train on"
        )
    rows = evaluate(
        policy,
        task,
        num_samples=options.num_samples,
        seed=options.seed,
        temperature=options.temperature,
        baselines=baselines,
        references=options.references,
        yardstick=yardstick,
    )
    signature = None if yardstick is None else bleu_signature(task, yardstick.count)
    differences = paired(rows[: 1 + len(baselines)])
    value = show.write_evaluation(
        folder, path, rows, differences, options.num_samples, options.temperature, signature
    )
    if not options.json:
        print(f"{path}")
        tables.show(rows, task, differences)
        if signature is not None:
            print(f"BLEU: {signature}")
    if options.sweep:
        value |= {"sweep": _sweep(options, folder, path, {"model": policy, **baselines}, task)}
    if options.json:
        print(json.dumps(value))
    else:
        show.next_report(folder)
    return 0


def _sweep(
    options: EvaluateOptions,
    folder: RunFolder,
    checkpoint: Path,
    policies: Mapping[str, Policy],
    task: Task,
) -> dict[str, Any]:
    """Sweep, write sweep.json, show it unless JSON is asked for."""
    swept = sweeps.run(
        policies,
        task,
        options.multipliers,
        options.num_samples,
        options.seed,
        references=options.references,
    )
    reads_text = swept.quality.figure.startswith("bleu")
    signature = bleu_signature(task, options.num_samples) if reads_text else None
    of = {"checkpoint": checkpoint.name, "num_samples": options.num_samples, "seed": options.seed}
    value = sweeps.write(folder, swept, {**of, "signature": signature})
    if not options.json:
        sweeps.show(swept)
        if signature is not None:
            print(f"BLEU: {signature}")
    return value


def _check(options: EvaluateOptions) -> None:
    if not 0 < options.temperature < math.inf or min(options.num_samples, options.threads) < 1:
        raise UserError(
            "--temperature, --num-samples and --threads must be positive, and not infinite"
        )
    # Each is one over a temperature.
    if any(not 0 < each < math.inf or 1 / each == math.inf for each in options.multipliers or ()):
        raise UserError("--multipliers must be positive, and not infinite")
    if options.multipliers is not None and not options.sweep:
        raise UserError("--multipliers are those of a sweep: add --sweep")
