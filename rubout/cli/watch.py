"""`rubout watch RUN`: a trained policy typing, and rubbing out, in the terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rubout.cli import traces
from rubout.cli.drawing import DrawOptions, drawn_from
from rubout.cli.parse import parse
from rubout.errors import UserError
from rubout.evaluation import trace
from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories

_SLOWEST = 0.1  # keys per second


@dataclass(frozen=True)
class WatchOptions(DrawOptions):
    """Type sequences key by key; where stdout is no terminal, write a line for each."""

    num: int = 5
    """Sequences."""
    speed: float = 20.0
    """Keys per second, on a terminal; 0: at once."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(WatchOptions, argv, "rubout watch")
    if options.speed != 0 and not options.speed >= _SLOWEST:
        raise UserError(f"--speed must be 0 (at once) or at least {_SLOWEST} keys per second")
    policy, codec, drawn = drawn_from(options)
    play(Console(), codec, policy.space, drawn, options.speed)
    return 0


def play(
    console: Console, codec: Codec, space: ActionSpace, drawn: Trajectories, speed: float
) -> None:
    """Type sequences on a terminal, one after the other, and count the keys; else just print them.

    Args:
        console: where to.
        codec: of the run.
        space: of the run.
        drawn: the sequences, on the CPU.
        speed: keys per second; 0: at once.
    """
    for prompt, actions in trace.logs(drawn):
        if speed and traces.is_drawable(console):
            _animate(console, trace.frames(codec, space, prompt, actions), speed)
        traces.line(console, trace.pieces(codec, space, prompt, actions))
    if console.is_terminal:
        keys = int(drawn.num_actions_B.sum())
        backspaces = int(trace.deletions(space, drawn).sum())
        counts = [(len(drawn), "sequence"), (keys, "key"), (backspaces, "backspace")]
        sequences, pressed, rubbed = (traces.counted(*item) for item in counts)
        line = f"{sequences}: {pressed}, {rubbed} among them"
        console.print(line, highlight=False, soft_wrap=True)


def _animate(console: Console, frames: list[Text], speed: float) -> None:
    """The tape after each key, in place; nothing is left of it."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for frame in frames:
            live.update(frame + Text(" ", style="reverse"), refresh=True)
            time.sleep(1 / speed)
