"""A head node of one's own, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OPTIONS = (
    "--policy.hidden 8 --policy.embedding 8 --batch-size 8 --updates 4 --evaluate-every 2 "
    "--checkpoint-every 2 --samples 2 --rollout-batch 8 --log-every 1 --device cpu"
)


@dataclass(frozen=True)
class Head:
    """A head node.

    Attributes:
        address: host:port of its GCS.
        folder: its --temp-dir.
        environment: of a client with the right token.
    """

    address: str
    folder: Path
    environment: dict[str, str]

    def run(
        self, *words: object, cwd: Path = ROOT, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """A command of this Python's environment, with the cluster's token if not another's."""
        return subprocess.run(
            [str(BIN / str(words[0])), *map(str, words[1:])],
            cwd=cwd,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def stop(folder: Path, token: str) -> None:
    """End the processes of one cluster, by their ids; `ray stop` would end everybody's."""
    for _ in range(20):
        standing = of_cluster(folder, token)
        for pid in standing:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not standing:
            return
        time.sleep(0.2)
    raise AssertionError(f"still standing: {of_cluster(folder, token)}")


def of_cluster(folder: Path, token: str) -> list[int]:
    """Processes that name its folder or were given its token, and their descendants."""
    parents: dict[int, int] = {}
    ours: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after_name[0] == "Z":
            continue
        parents[int(process.name)] = int(after_name[1])
        if str(folder).encode() in said or token.encode() in said:
            ours.add(int(process.name))
    grown = -1
    while grown != len(ours):
        grown = len(ours)
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return sorted(ours - {os.getpid()})
