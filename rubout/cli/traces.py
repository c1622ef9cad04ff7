"""Sequences as they were typed, what was rubbed out struck through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console
from rich.text import Text

from rubout.evaluation import trace
from rubout.evaluation.trace import Piece
from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories

_SHOWN = 5


def counted(number: int, thing: str) -> str:
    """How many of something, in words."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def show(
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
        print(f"\nin {counted(len(drawn), 'sample')} nothing was rubbed out", file=console.file)
        return
    how = "struck through" if is_drawable(console) else f"between {trace.MARK}"
    chosen = drawn[torch.argsort(~mended, stable=True)[:_SHOWN]]
    print(
        f"\n{len(chosen)} of {counted(len(drawn), 'sample')} typed with a backspace, "
        f"what was rubbed out {how} ({int(mended.sum()):,} rub something out):",
        file=console.file,
    )
    for prompt, actions in trace.logs(chosen):
        line(console, trace.pieces(codec, space, prompt, actions), indent="  ")


def is_drawable(console: Console) -> bool:
    """Whether it is a terminal that can strike text through and move its cursor."""
    return console.is_terminal and console.color_system is not None


def line(console: Console, parts: Sequence[Piece], indent: str = "") -> None:
    """One sequence as it was typed, on a line of its own however narrow the terminal."""
    if is_drawable(console):
        console.print(Text(indent) + trace.styled(parts), soft_wrap=True, highlight=False)
    else:
        print(f"{indent}{trace.plain(parts)}", file=console.file)
