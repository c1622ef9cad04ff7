"""Samplers in plain processes, without Ray: what so many cores of a machine give at most."""

from __future__ import annotations

import time
from multiprocessing import get_context
from multiprocessing.connection import Connection

from rubout.process import set_up
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSpec


class PlainProcesses:
    """Processes that each type the same parts again and again."""

    def __init__(self, spec: RolloutSpec, workers: int) -> None:
        context = get_context("spawn")
        self._connections, self._processes = [], []
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(spec, theirs), daemon=True)
            process.start()
            theirs.close()  # so that a process that cannot start ends the wait for its answer
            self._connections.append(ours)
            self._processes.append(process)
        self.rate(1)

    def rate(self, sequences: int) -> float:
        """Sequences a second of all together, where each types so many."""
        for connection in self._connections:
            connection.send(sequences)
        return sum(connection.recv() for connection in self._connections)

    def close(self) -> None:
        """End them."""
        for connection, process in zip(self._connections, self._processes, strict=True):
            connection.send(0)
            process.join()


def _serve(spec: RolloutSpec, connection: Connection) -> None:
    set_up(spec.threads)
    sampler = spec.sampler()
    while sequences := connection.recv():
        began = time.perf_counter()
        sampler.sample_in_batches(Request(1, 0, sequences), spec.batch, 0)
        connection.send(sequences / (time.perf_counter() - began))
