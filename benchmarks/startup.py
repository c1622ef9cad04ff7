"""Seconds from typing a command to the end of its first update, and where they go.

    python -m benchmarks.startup --scale smoke|cpu [--json FILE]

Targets: `rubout --help` under 0.5 s; training in one process under 5 s, with and without the task's
cache; with a rollout actor under 20 s. Each command runs in a process of its own, ends right after
its first update, and is run three times; the median counts. The parts are measured in that process:

- modules: until the command's own code begins, and torch's compiler, which optimizers import.
- task: reading or making its data and drawing its sequences.
- Ray: `ray.init`, reserving, and waiting for actors that are not up by then.
- rollouts and update: what the first of each takes.
- rest: options, policy and learner, files.

Other programs make it slower: read the load that is printed with the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import machine, print_table

_TIMES = 3
_WITH_RAY = ("--rollout-workers", "1")
_BACKSPACE = ("--learner", "sequence_match", "--env.backspace")
_SMALL = ("--task.vocabulary", "50", "--task.train", "100", "--task.validation", "10")
COMMANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "smoke": {"mle, oracle": ("--learner", "mle", "--task", "oracle", *_SMALL)},
    "cpu": {
        "mle, python-docs": ("--learner", "mle", "--task", "python-docs"),
        "mle, oracle": ("--learner", "mle", "--task", "oracle"),
        "sequence_match, python-docs, an actor": (*_BACKSPACE, *_WITH_RAY),
        "sequence_match, oracle, an actor": (*_BACKSPACE, *_WITH_RAY, "--task", "oracle"),
        "seqgan, python-docs, an actor": ("--learner", "seqgan", *_WITH_RAY),
    },
}
PARTS = ("modules", "task", "Ray", "rollouts", "update", "rest")


class Clock:
    """Seconds by part; where parts are nested, the outer one counts."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._open = False

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Measure the block."""
        if self._open:
            yield
            return
        self._open, began = True, time.time()
        try:
            yield
        finally:
            self._open = False
            self.seconds[part] += time.time() - began

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Measure a function wherever it is called."""
        inner: Callable[..., object] = getattr(owner, name)

        def outer(*positional: object, **named: object) -> object:
            with self.of(part):
                return inner(*positional, **named)

        setattr(owner, name, outer)


def child(began: float, words: list[str]) -> None:
    """`rubout train`, until its first update is done; prints the seconds as JSON."""
    clock = Clock()
    from rubout.cli.quick import keeping_all

    with keeping_all():
        import torch._dynamo  # noqa: F401

        import rubout.training.run
        from rubout.cli import train
        from rubout.training import setup, start

    clock.seconds["modules"] = time.time() - began
    clock.watch(train, "_join_cluster", "Ray")
    clock.watch(rubout.training.run.Run, "collect", "rollouts")

    def task(config: Any) -> Any:
        with clock.of("task"):
            made = build_task(config)
        clock.watch(made, "split", "task")
        return made

    def built(*positional: Any) -> Any:
        learner = build_learner(*positional)
        clock.watch(learner, "update", "update")
        return learner

    def source(*positional: Any) -> Any:
        with clock.of("Ray"):
            made = make_source(*positional)
        if hasattr(made, "_wait_until_up"):
            clock.watch(made, "_wait_until_up", "Ray")
        clock.watch(made, "request", "rollouts")
        return made

    def log(_run: object, _kind: str, _update: int, _values: object) -> None:
        spent = time.time() - began
        clock.seconds["rest"] = spent - sum(clock.seconds.values())
        print("\n" + json.dumps({"all": spent, **clock.seconds}), flush=True)
        raise KeyboardInterrupt  # ends actors as a user would

    build_task, build_learner, make_source = setup.build_task, setup.build_learner, start._source
    setup.build_task = task
    setup.build_learner = start.build_learner = built
    start._source, rubout.training.run.Run.log = source, log  # type: ignore[assignment]
    try:
        train.run(words)
    except KeyboardInterrupt:
        return


def first_update(words: tuple[str, ...], cache: Path) -> dict[str, float]:
    """Seconds of one start, in all and by part."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "benchmarks.startup", "--child", repr(time.time())]
        line += ["--out", f"{folder}/run", "--log-every", "1", *words]
        environment = os.environ | {"RUBOUT_CACHE": str(cache)}
        ended = subprocess.run(line, env=environment, capture_output=True, text=True)
    found = [text for text in ended.stdout.splitlines() if text.startswith('{"all"')]
    if not found:
        raise RuntimeError(f"{words} failed: {ended.stderr[-2000:]}")
    seconds: dict[str, float] = json.loads(found[0])
    return seconds


def help_s() -> float:
    """Seconds of `rubout --help`."""
    began = time.time()
    subprocess.run([sys.executable, "-m", "rubout", "--help"], check=True, capture_output=True)
    return time.time() - began


def measure(scale: str) -> Iterator[dict[str, Any]]:
    """A row for each command and state of the cache."""
    yield {"command": "rubout --help", "cache": "", "all": median(help_s() for _ in range(_TIMES))}
    for name, words in COMMANDS[scale].items():
        rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
        for _ in range(_TIMES):
            with tempfile.TemporaryDirectory() as cache:
                for found in rows.values():
                    found.append(first_update(words, Path(cache)))
        for state, found in rows.items():
            middle = sorted(found, key=lambda row: row["all"])[_TIMES // 2]
            yield {"command": name, "cache": state, **middle}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        child(float(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=COMMANDS, default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, help="file to write, besides the table")
    arguments = parser.parse_args()
    load, rows = os.getloadavg()[0], list(measure(arguments.scale))
    loads = [load, os.getloadavg()[0]]
    columns = ("all", *PARTS)
    cells = [
        [row["command"], row["cache"], *(f"{row[c]:.2f}" if c in row else "" for c in columns)]
        for row in rows
    ]
    title = f"Seconds to the end of the first update, median of {_TIMES}"
    print_table(title, ["command", "cache", *columns], cells)
    print(f"\nload before and after: {loads[0]:.1f}, {loads[1]:.1f}")
    if arguments.json:
        value = {"machine": machine(), "load": loads, "rows": rows}
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
