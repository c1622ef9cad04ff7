"""Means of metrics between two lines of the log, and the pace."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping


class Meter:
    """Collects the metrics of single updates."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)
        self._since = time.perf_counter()
        self._updates = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """One update's metrics."""
        self._updates += 1
        for name, value in metrics.items():
            self._values[name].append(value)

    def flush(self) -> dict[str, float]:
        """The means since the last flush, and seconds per update."""
        now = time.perf_counter()
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        means["seconds_per_update"] = (now - self._since) / max(self._updates, 1)
        self._values.clear()
        self._since, self._updates = now, 0
        return means
