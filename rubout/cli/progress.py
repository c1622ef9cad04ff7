"""What a long run shows while it goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_LINE_EVERY_S = 5.0
_SHOWN = ("loss", "ratio/loss", "ratio/mean_over_q", "weights/ess", "rollout/reward")


class Progress:
    """Called with every record of metrics.jsonl."""

    def __init__(self, updates: int) -> None:
        self._updates = updates
        self._next_line = 0.0
        self._bar: Bar | None = None
        self._task: Any = None
        if sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("update"),
                MofNCompleteColumn(),
                BarColumn(bar_width=30),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(),
            )
            self._task = self._bar.add_task("starting", total=updates)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record: evaluations always, updates every few seconds."""
        if record["kind"] == "evaluation":
            self._line(record, _figures(record))
        elif self._bar is not None:
            shown = [name for name in _SHOWN if name in record]
            text = "  ".join(f"{name} {record[name]:.4f}" for name in shown)
            self._bar.update(self._task, completed=record["update"], description=text)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            shown = [name for name in _SHOWN if name in record]
            text = "  ".join(f"{name} {record[name]:.4f}" for name in shown)
            pace = 1 / max(record["seconds_per_update"], 1e-9)
            self._line(record, f"{text}  {pace:.1f} updates/s")

    def _line(self, record: dict[str, Any], text: str) -> None:
        line = f"update {record['update']:>6} of {self._updates}  {text}"
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)


def _figures(record: dict[str, Any]) -> str:
    names = [name for name in record if name.startswith("nll_")]
    return "  ".join(f"{name} {record[name]:.4f}" for name in names)
