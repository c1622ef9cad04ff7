"""Programs that take turns, each in a process of its own.

Whatever else the machine does then meets all of them: a figure is the median of its turns, a ratio
the median of the turns' ratios. A program prints one figure as soon as it is ready, and one more
at each turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from subprocess import PIPE, Popen

from benchmarks.common import quartiles


@dataclass(frozen=True)
class Turns:
    """What some programs printed.

    Attributes:
        ready: of each, its first figure in its first process.
        taken: for each turn, the figure of each.
    """

    ready: dict[str, float]
    taken: list[dict[str, float]]

    @staticmethod
    def of(programs: Mapping[str, Sequence[str]], turns: int, starts: int = 1) -> Turns:
        """Start all of them, and give each so many turns, after one that is not counted.

        Args:
            programs: the commands, by name.
            turns: of each.
            starts: how often to do so, where the speed of a program is a process's own luck.
        """
        lives = [Turns._of_one_start(programs, turns) for _ in range(starts)]
        return Turns(lives[0].ready, [turn for life in lives for turn in life.taken])

    @staticmethod
    def _of_one_start(programs: Mapping[str, Sequence[str]], turns: int) -> Turns:
        with ExitStack() as stack:
            processes = {
                name: stack.enter_context(Popen(words, stdin=PIPE, stdout=PIPE, text=True))
                for name, words in programs.items()
            }

            def take(name: str) -> float:
                pipes = processes[name]
                assert pipes.stdin is not None
                pipes.stdin.write("\n")
                pipes.stdin.flush()
                return answer(name)

            def answer(name: str) -> float:
                pipes = processes[name]
                assert pipes.stdout is not None
                return float(pipes.stdout.readline())

            ready = {name: answer(name) for name in programs}
            taken = [{name: take(name) for name in programs} for _ in range(turns + 1)]
        return Turns(ready, taken[1:])

    def median(self, name: str) -> float:
        """That of one program's figures."""
        return median(turn[name] for turn in self.taken)

    def ratio(self, name: str, over: str) -> float:
        """The median over the turns of one program's figure over another's."""
        return self.quartiles(name, over)[1]

    def quartiles(self, name: str, over: str) -> tuple[float, float, float]:
        """The lower quartile of the same, the median and the upper quartile."""
        return quartiles([turn[name] / turn[over] for turn in self.taken])


def take_turns(ready: float, turn: Callable[[], float]) -> None:
    """What such a program does: print a figure, then one more for each line that it reads.

    Args:
        ready: the first.
        turn: does the work of a turn and gives its figure.
    """
    print(ready, flush=True)
    for _ in sys.stdin:
        print(turn(), flush=True)
