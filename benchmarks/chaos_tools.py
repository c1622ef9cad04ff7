"""What `benchmarks.chaos` runs, waits for, compares and breaks."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rubout.reward import Reward
from rubout.training import checkpoint
from rubout.training.run_folder import RunFolder
from rubout.types import Trajectories

ROOT = Path(__file__).parents[1]
RUN = (
    "--learner psi_mle --learner.lr 0.05 --learner.mle-updates 1 --learner.warmup 1 "
    "--learner.ratio-lr 0.01 --policy.hidden 64 --policy.embedding 64 --policy.dropout 0.3 "
    "--batch-size 8 --rollout-batch 8 --checkpoint-every 20 --evaluate-every 100000 "
    "--log-every 1 --samples 0 --device cpu"
)
CLOCKS = {"time", "seconds_per_update", "rollout/lost_requests", "rollout/actor_deaths"}
_GIB = 2**30
_HOG_STEP, _HOG_STEPS, _HOG_HOLD_S = 100 * 2**20, 17, 5.0
_THRESHOLD_GIB = 2.0  # above what is used now; Ray and the run take about 1.2 of it


class Bench:
    """Starts runs under one folder.

    Args:
        out: absolute folder.
        updates: of every run.
    """

    def __init__(self, out: Path, updates: int) -> None:
        self.out, self.updates = out, updates
        self.corpus = out / "corpus.txt"
        out.mkdir(parents=True, exist_ok=True)
        source = random.Random(0)
        words = ["the", "a", "cat", "dog", "sees", "hears", "old", "red", "house", "tree", "and"]
        lines = [" ".join(source.choices(words, k=source.randint(2, 8))) for _ in range(60)]
        self.corpus.write_text("\n".join(lines) + "\n")

    def start(self, run: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a run, or resume it where it is there."""
        line = [sys.executable, "-m", "rubout", "train", "--out", str(run)]
        if (run / "config.json").exists():
            line += ["--resume", *words]
        else:
            line += ["--task", str(self.corpus), "--updates", str(self.updates), *RUN.split()]
            line += words
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        kept |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        return subprocess.Popen(
            line,
            cwd=self.out,
            env=kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, run: Path, process: subprocess.Popen[str], update: int) -> None:
        """Wait until a run has done so many updates."""

        def done() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"ended too soon: {process.communicate()}")
            return last_update(run) >= update

        wait_for(done, f"update {update} of {run}")

    def undisturbed(self, *words: str) -> Path:
        """The same run without a fault and without Ray; of other options where given."""
        run = self.out / "-".join(["undisturbed", *(word[-3:].strip("-") for word in words)])
        if not (run / "evaluation.json").exists():
            finish(self.start(run, *words))
        return run


def last_update(run: Path) -> int:
    """Of metrics.jsonl."""
    return max((int(record["update"]) for record in RunFolder(run).read_metrics()), default=0)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 240.0) -> float:
    """Seconds until a condition holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise RuntimeError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a run to end well; what it printed."""
    out, err = process.communicate(timeout=500)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {out[-1000:]}\n{err[-3000:]}")
    return out


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a run that a fault ends: its exit code and the one line it says."""
    err = process.communicate(timeout=500)[1].strip()
    lines = [line for line in err.splitlines() if line.startswith("rubout train: error: ")]
    if "Traceback" in err or len(lines) != 1 or process.returncode not in (1, 2):
        raise RuntimeError(f"no clear line, exit code {process.returncode}: {err[-3000:]}")
    return f"exit code {process.returncode}: {lines[0].removeprefix('rubout train: error: ')}"


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended alike, bit for bit, and went the same way."""

    def all_of(run: Path) -> tuple[object, ...]:
        """Weights, state and metrics of a run, but for its clocks."""
        newest = checkpoint.last(run / "checkpoints")
        checkpoint.verify(newest)
        manifest = json.loads((newest / "manifest.json").read_text())
        weights = {name: sha for name, sha in manifest.items() if name.endswith(".safetensors")}
        metrics = [
            {key: value for key, value in record.items() if key not in CLOCKS}
            for record in RunFolder(run).read_metrics()
        ]
        return weights, checkpoint.read_state(newest), metrics

    return all_of(one) == all_of(other)


def gap_after(run: Path, moment: float) -> float:
    """Seconds from a moment to the end of the longest time without an update that follows it."""
    times = [r["time"] for r in RunFolder(run).read_metrics() if r["time"] > moment]
    starts = [moment, *times[:-1]]
    gaps = [(end - start, end) for start, end in zip(starts, times, strict=True)]
    return float(max(gaps)[1] - moment)


def resume(bench: Bench, run: Path, *words: str, **environment: str) -> float:
    """Resume a run and let it end; seconds from the command to its first new update."""
    began = time.time()
    finish(bench.start(run, *words, **environment))
    return float(min(r["time"] for r in RunFolder(run).read_metrics() if r["time"] > began) - began)


def descendants(pid: int) -> list[int]:
    """Of a process, by /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found


def actors(pid: int, kind: str = "RolloutWorker") -> list[int]:
    """Actors of a class among a process's descendants."""
    found = []
    for child in descendants(pid):
        with suppress(OSError):
            name = (Path("/proc") / str(child) / "cmdline").read_bytes()
            if name.startswith(b"ray::") and kind.encode() in name:
                found.append(child)
    return sorted(found)


class Nodes:
    """A cluster of several nodes on this machine, of this process alone; a context manager."""

    def __init__(self, head_cpus: int, store_mb: int = 150, **settings: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="rc", dir="/tmp")  # sockets bear short paths only
        self.environment = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": self._folder}
        os.environ.update(self.environment, PYTHONPATH=str(ROOT), RAY_USAGE_STATS_ENABLED="0")
        os.environ.update(settings)
        from ray.cluster_utils import Cluster

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": head_cpus,
                "redis_port": port,
                "include_dashboard": False,
                "object_store_memory": store_mb * 10**6,
            },
        )
        self.address: str = self._cluster.address

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, cpus: int) -> object:
        """A node joins."""
        return self._cluster.add_node(num_cpus=cpus)

    def lose(self, node: object) -> None:
        """A node is gone at once."""
        self._cluster.remove_node(node, allow_graceful=False)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of a few megabytes; wants root."""
    folder.mkdir(parents=True)
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes free on a disk."""
    path = folder / "filler"
    path.write_bytes(bytes(max(shutil.disk_usage(folder).free - leave, 0)))
    return path


def end_all(pids: list[int]) -> None:
    """End processes of ours, by id, that still live."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def hungry(marker: Path) -> dict[str, str]:
    """The environment of a run whose actors Ray ends when they take two GiB more than is used now.

    Args:
        marker: while this file is there, `Hog` takes memory.
    """
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (float(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    if free * 1024 < 6 * _GIB:
        raise RuntimeError("this fault wants six GiB of free memory")
    return {
        "RAY_memory_usage_threshold": f"{(total - free + _THRESHOLD_GIB * 2**20) / total:.4f}",
        "RAY_memory_monitor_refresh_ms": "100",
        "RUBOUT_CHAOS_HOG": str(marker),
    }


@dataclass(frozen=True)
class NoOptions:
    """None."""


class Hog(Reward):
    """Pays for every action; takes 1.7 GB first where a file says so: "once" or "always"."""

    Config = NoOptions

    def __call__(self, trajectories: Trajectories) -> Tensor:
        """See `Reward`."""
        marker = Path(os.environ.get("RUBOUT_CHAOS_HOG", os.devnull))
        with suppress(FileNotFoundError):
            if marker.read_text() == "once":
                marker.unlink()
                self._take()
            elif marker.is_file():
                self._take()
        return trajectories.num_actions_B.float()

    def _take(self) -> None:
        taken = []
        for _ in range(_HOG_STEPS):
            taken.append(np.ones(_HOG_STEP, np.uint8))
            time.sleep(0.1)
        time.sleep(_HOG_HOLD_S)
