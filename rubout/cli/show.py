"""What a run prints besides its progress: heading, tables, samples, the next commands."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from rubout.cli import tables, traces
from rubout.cli.traces import counted
from rubout.errors import UserError
from rubout.evaluation.draws import draw, head, sample_records
from rubout.evaluation.estimate import Estimate
from rubout.evaluation.evaluate import Row, evaluate, paired
from rubout.files import write_json
from rubout.options import build_policy
from rubout.policy import Policy
from rubout.rollout.source import Losses
from rubout.task import Codec, Split, Task
from rubout.training import checkpoint, setup
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder
from rubout.types import Trajectories

_NUM_SAMPLES = 2000
_SHOWN_SAMPLES = 10
_TRACED_SAMPLES = 200


def heading(config: TrainConfig, task: Task, folder: RunFolder, device: torch.device) -> None:
    """One paragraph on what is about to run."""
    space = setup.action_space(config, task)
    names: tuple[Split, ...] = ("train", "validation", "test")
    counts = [task.count(name) for name in names]
    rollouts = "rollouts by this process"
    if not setup.uses_rollouts(config):
        rollouts = "no rollouts"
    elif config.rollout_workers:
        rollouts = f"rollouts by {config.rollout_workers} Ray actors"
    learners = (
        f"{config.learner_workers} Ray Train workers" if config.learner_workers else "this process"
    )
    print(
        f"{config.learner} on {config.task}: {counts[0]:,} training, {counts[1]:,} validation, "
        f"{counts[2]:,} test sequences; {space.num_tokens:,} tokens, at most "
        f"{space.max_length} a sequence{', with a backspace' if space.backspace else ''}\n"
        f"policy {config.policy}; learning by {learners} ({device.type}); {rollouts}; "
        f"{config.updates:,} updates of {config.batch_size}; seed {config.seed}\n"
        f"writing to {folder.path}",
        flush=True,
    )
    for note in task.notes():
        print(f"note: {note}", flush=True)


def ending(config: TrainConfig, state: RunState, losses: Losses, seconds: float) -> None:
    """How it ended, and what was lost on the way."""
    early = "" if state.update >= config.updates else " (stopped early)"
    best = ""
    if state.best_nll is not None:
        best = f"; best validation NLL {state.best_nll:.4f} at update {state.best_update}"
    print(f"{state.update:,} updates in {seconds:.0f} s{early}{best}")
    if losses.requests:
        reasons = ", ".join(f"{name} x{count}" for name, count in losses.reasons.items())
        print(
            f"lost: {counted(losses.requests, 'rollout request')} with "
            f"{counted(losses.restarts, 'dead actor')}"
            f"{f' ({reasons})' if reasons else ''}; "
            f"everything was generated again with the same seeds, nothing is missing"
        )


def trained_policy(
    folder: RunFolder,
    config: TrainConfig,
    which: Literal["best", "last"] | None = None,
    device: str = "auto",
) -> tuple[Policy, Path]:
    """A run's policy with its best or last weights, wherever it was trained, and the checkpoint."""
    policy = build_policy(config.policy, config.policy_options, folder.space())
    path = setup.load_policy(folder, policy, folder.codec().fingerprint, which)
    return policy.to(setup.torch_device(device)), path


def baseline(path: Path, task: Task) -> RunFolder:
    """A run to be compared with.

    Raises:
        UserError: there is none, or it is of another vocabulary.
    """
    folder = RunFolder.existing(path.resolve())
    if folder.codec().fingerprint != task.codec.fingerprint:
        raise UserError(f"--baseline {path} is of another vocabulary: its NLL cannot be compared")
    checkpoint.verify(checkpoint.last(folder.checkpoints))
    return folder


def row_of(folder: RunFolder, device: str) -> dict[str, Policy]:
    """A run's policy, by the name of its row."""
    config = folder.config()
    policy, _ = trained_policy(folder, config, device=device)
    return {f"{config.learner} ({_short(folder.path)})": policy}


def results(
    folder: RunFolder, config: TrainConfig, task: Task, other: RunFolder | None = None
) -> None:
    """What was trained, on the whole test split, beside a baseline; writes evaluation.json."""
    policy, path = trained_policy(folder, config, device=config.device)
    baselines = {} if other is None else row_of(other, config.device)
    rows = evaluate(policy, task, _NUM_SAMPLES, seed=config.seed, baselines=baselines)
    differences = paired(rows[: 1 + len(baselines)])
    write_evaluation(folder, path, rows, differences, _NUM_SAMPLES, 1.0)
    tables.show(rows, task, differences)
    for name, typist in {**baselines, config.learner: policy}.items():
        drawn = _for_a_reader(typist, config, task, _SHOWN_SAMPLES)
        texts = [record["text"] for record in sample_records(typist, task.codec, drawn)]
        print(f"\n{len(texts)} samples of {name}:", *texts, sep="\n  ")
    if policy.space.backspace:
        drawn = _for_a_reader(policy, config, task, _TRACED_SAMPLES)
        traces.show(drawn, task.codec, policy.space)


def _for_a_reader(policy: Policy, config: TrainConfig, task: Task, count: int) -> Trajectories:
    """Samples without the token for unknown words, after the first prompts of the test split."""
    prompts = head(task.split("test"), count).prompts
    number = count if prompts is None else len(prompts)
    return draw(policy, number, config.seed, prompts, suppress=unknown(task.codec))


def write_evaluation(
    folder: RunFolder,
    path: Path,
    rows: list[Row],
    differences: Mapping[str, Mapping[str, Estimate]],
    num_samples: int,
    temperature: float,
    signature: str | None = None,
) -> dict[str, Any]:
    """evaluation.json: the figures and what they are of."""
    value = {
        "checkpoint": path.name,
        "num_samples": num_samples,
        "temperature": temperature,
        "unit": "nats per action, <eos> included",
        "signature": signature,
        "rows": [row.to_json() for row in rows],
        "paired": {
            other: {name: one.to_json() for name, one in found.items()}
            for other, found in differences.items()
        },
    }
    write_json(folder.evaluation, value)
    return value


def unknown(codec: Codec) -> tuple[int, ...]:
    """What is never generated for a reader: the token for unknown words."""
    return () if codec.unknown_id is None else (codec.unknown_id,)


def next_commands(folder: RunFolder, config: TrainConfig, task: Task) -> None:
    """What to type now."""
    typed, path = program(), shlex.quote(_short(folder.path))
    prompts = task.split("test").prompts
    prompt = ""
    if prompts is not None:
        prompt = f" --prompt {shlex.quote(task.codec.decode(prompts.lists()[0]))}"
    watch = f"  {typed} watch {path}{prompt}\n" if folder.space().backspace else ""
    print(
        f"\nnext:\n"
        f"  {typed} generate {path} --num 100{prompt}\n"
        f"{watch}"
        f"  {typed} evaluate {path} --num-samples 10000 --sweep\n"
        f"  {typed} report {path} --out report.html\n"
        f"  {resume_command(folder)} --updates {2 * config.updates}"
    )
    if importlib.util.find_spec("tensorboard") is not None:
        print(f"  tensorboard --logdir {path}")


def next_report(folder: RunFolder) -> None:
    """What to type to see it all."""
    print(f"\nnext:\n  {program()} report {shlex.quote(_short(folder.path))} --out report.html")


def resume_command(folder: RunFolder) -> str:
    """What to type to go on with a run."""
    return f"{program()} train --out {shlex.quote(_short(folder.path))} --resume"


def program() -> str:
    """How this program was started, so that it can be started so again."""
    started = Path(sys.argv[0])
    if started.name != "rubout":
        return f"{_short(Path(sys.executable))} -m rubout"
    return "rubout" if shutil.which("rubout") == str(started) else _short(started.absolute())


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
