"""What a run prints besides its progress: heading, tables, samples, the next commands."""

from __future__ import annotations

import importlib.util
import math
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rubout.evaluation import backspaces, trace
from rubout.evaluation.evaluate import Row, draw, evaluate, head, sample_records
from rubout.evaluation.nll import Estimate
from rubout.evaluation.trace import Piece
from rubout.files import write_json
from rubout.options import build_policy
from rubout.policy import Policy
from rubout.rollout.source import Losses
from rubout.task import Codec, Task
from rubout.training import setup
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder
from rubout.types import ActionSpace, Trajectories

_TITLES = {
    "nll_test": "NLL test",
    "nll_oracle": "NLL oracle",
    "exact_match": "exact match",
}
_NUM_SAMPLES = 2000
_SHOWN_SAMPLES = 10
_TRACED_SAMPLES = 200
_SHOWN_TRACES = 5


def heading(config: TrainConfig, task: Task, folder: RunFolder, device: torch.device) -> None:
    """One paragraph on what is about to run."""
    space = setup.action_space(config, task)
    counts = [len(task.split(name)) for name in ("train", "validation", "test")]
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
    best = "" if state.best_nll is None else f"; best validation NLL {state.best_nll:.4f}"
    print(f"{state.update:,} updates in {seconds:.0f} s{early}{best} at update {state.best_update}")
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


def final_evaluation(
    folder: RunFolder, config: TrainConfig, task: Task
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The best checkpoint on the whole test split; writes evaluation.json.

    Returns:
        the table, and a few samples.
    """
    policy, path = trained_policy(folder, config, device=config.device)
    rows = evaluate(policy, task, num_samples=_NUM_SAMPLES, seed=config.seed)
    write_evaluation(folder, path, rows, _NUM_SAMPLES, 1.0)
    prompts = head(task.split("test"), _SHOWN_SAMPLES).prompts
    count = _SHOWN_SAMPLES if prompts is None else len(prompts)
    drawn = draw(policy, count, config.seed, prompts, suppress=unknown(task.codec))
    return rows, sample_records(policy, task.codec, drawn)


def write_evaluation(
    folder: RunFolder, path: Path, rows: list[Row], num_samples: int, temperature: float
) -> dict[str, Any]:
    """evaluation.json: the figures and what they are of."""
    value = {
        "checkpoint": path.name,
        "num_samples": num_samples,
        "temperature": temperature,
        "unit": "nats per action, <eos> included",
        "rows": [row.to_json() for row in rows],
    }
    write_json(folder.evaluation, value)
    return value


def unknown(codec: Codec) -> tuple[int, ...]:
    """What is never generated for a reader: the token for unknown words."""
    return () if codec.unknown_id is None else (codec.unknown_id,)


def table(rows: list[Row], task: Task) -> None:
    """Figures with standard errors, model beside references."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    names = [name for name in names if name not in backspaces.TITLES]
    print(f"\non {len(task.split('test')):,} test sequences; ± is a standard error")
    shown = Table()
    shown.add_column("")
    for name in names:
        shown.add_column(_TITLES.get(name, name), justify="right")
        if name == "nll_test":
            shown.add_column("perplexity", justify="right")
    for row in rows:
        cells = [row.name]
        for name in names:
            estimate = row.figures.get(name)
            cells.append(_cell(estimate))
            if name == "nll_test":
                cells.append("" if estimate is None else _perplexity(estimate.mean))
        shown.add_row(*cells)
    _print_table(shown)
    print("NLL: nats per action, <eos> included; lower is better.")
    _backspace_table(rows)


def _backspace_table(rows: list[Row]) -> None:
    """A line for each figure on the backspace, for the policies that have one."""
    users = [row for row in rows if row.figures.keys() & backspaces.TITLES.keys()]
    if not users:
        return
    shown = Table()
    for heading in ("backspaces", *(row.name for row in users), "what it is"):
        shown.add_column(heading)
    for name, (title, meaning) in backspaces.TITLES.items():
        found = [row.figures.get(name) for row in users]
        if any(found):
            shown.add_row(title, *(_cell(estimate) for estimate in found), meaning)
        if name == "nll_test_without":
            cells = ["" if one is None else _perplexity(one.mean) for one in found]
            shown.add_row("perplexity without", *cells, "the same as a perplexity")
    print()
    _print_table(shown)


def _print_table(shown: Table) -> None:
    Console(width=None if Console().is_terminal else 100).print(shown)


def counted(number: int, thing: str) -> str:
    """How many of something, in words."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _perplexity(nll: float) -> str:
    return f"{math.exp(nll):.1f}" if nll < 100 else "inf"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.mean:.4f} ± {estimate.standard_error:.4f}"


def samples(records: list[dict[str, Any]]) -> None:
    """Some of what the model types."""
    print(f"\n{len(records)} samples:")
    for record in records:
        print(f"  {record['text']}")


def final_traces(folder: RunFolder, config: TrainConfig, task: Task) -> None:
    """How the trained policy types; nothing for a run without a backspace."""
    space = folder.space()
    if not space.backspace:
        return
    policy, _ = trained_policy(folder, config, device=config.device)
    prompts = head(task.split("test"), _TRACED_SAMPLES).prompts
    number = _TRACED_SAMPLES if prompts is None else len(prompts)
    drawn = draw(policy, number, config.seed, prompts, suppress=unknown(task.codec))
    traces(drawn, task.codec, space)


def traces(
    drawn: Trajectories, codec: Codec, space: ActionSpace, console: Console | None = None
) -> None:
    """Up to five samples as they were typed, those with something rubbed out before others.

    Args:
        drawn: of which to choose, on the CPU.
        codec: of the run.
        space: of the run.
        console: where to; None: stdout.
    """
    console = Console() if console is None else console
    mended = trace.deletions(space, drawn) > 0
    if not bool(mended.any()):
        line = f"in {counted(len(drawn), 'sample')} nothing was rubbed out"
        print(f"\n{line}", file=console.file)
        return
    how = "struck through" if is_drawable(console) else f"between {trace.MARK}"
    chosen = drawn[torch.argsort(~mended, stable=True)[:_SHOWN_TRACES]]
    print(
        f"\n{len(chosen)} of {counted(len(drawn), 'sample')} typed with a backspace, "
        f"what was rubbed out {how} ({int(mended.sum()):,} rub something out):",
        file=console.file,
    )
    for prompt, actions in trace.logs(chosen):
        trace_line(console, trace.pieces(codec, space, prompt, actions), indent="  ")


def is_drawable(console: Console) -> bool:
    """Whether it is a terminal that can strike text through and move its cursor."""
    return console.is_terminal and console.color_system is not None


def trace_line(console: Console, parts: Sequence[Piece], indent: str = "") -> None:
    """One sequence as it was typed, on a line of its own however narrow the terminal."""
    if is_drawable(console):
        console.print(Text(indent) + trace.styled(parts), soft_wrap=True, highlight=False)
    else:
        print(f"{indent}{trace.plain(parts)}", file=console.file)


def next_commands(folder: RunFolder, config: TrainConfig, task: Task) -> None:
    """What to type now."""
    program, path = _program(), shlex.quote(_short(folder.path))
    prompts = task.split("test").prompts
    prompt = ""
    if prompts is not None:
        prompt = f" --prompt {shlex.quote(task.codec.decode(prompts.lists()[0]))}"
    watch = f"  {program} watch {path}{prompt}\n" if folder.space().backspace else ""
    print(
        f"\nnext:\n"
        f"  {program} generate {path} --num 100{prompt}\n"
        f"{watch}"
        f"  {program} evaluate {path} --num-samples 10000\n"
        f"  {resume_command(folder)} --updates {2 * config.updates}"
    )
    if importlib.util.find_spec("tensorboard") is not None:
        print(f"  tensorboard --logdir {path}")


def resume_command(folder: RunFolder) -> str:
    """What to type to go on with a run."""
    return f"{_program()} train --out {shlex.quote(_short(folder.path))} --resume"


def _program() -> str:
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
