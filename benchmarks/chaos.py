"""What a run loses, and how soon it is whole again, when its parts are taken away.

    python -m benchmarks.chaos --scale smoke|cpu [--faults actor,learner,...] [--json FILE]

Every row is a `rubout train` with a fault, beside the baseline, the same run without one. "Equal"
compares the sha256 of the last checkpoint's weights, its state, and metrics.jsonl without clocks
and counts of losses. A run that a fault ends is resumed once the fault is gone, and compared then.
Clusters are this program's own, and it ends no process that is not. Fault `disk` wants root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos_tools import (
    Bench,
    Nodes,
    actors,
    descendants,
    end_all,
    ended,
    fill,
    finish,
    gap_after,
    hungry,
    last_update,
    resume,
    same,
    small_disk,
    wait_for,
)
from benchmarks.common import machine, print_table
from rubout.training import checkpoint

UPDATES = {"smoke": 300, "cpu": 1500}
ACTORS = ["--rollout-workers", "2", "--staleness", "1"]
HOG = ["--reward", "benchmarks.chaos_tools:Hog"]
SURVIVED = "survived"


@dataclass(frozen=True)
class Outcome:
    """A row of the table.

    Attributes:
        fault: what was done.
        lost: what had to be done again.
        next_update_s: from the fault, or from --resume, to the next new update.
        whole_s: from the fault until every actor stands again; None where the run ended.
        ending: exit code and line where the fault ended the run, else "survived".
        equal: whether the run, resumed where it had ended, is the undisturbed one bit for bit.
    """

    fault: str
    lost: str
    next_update_s: float
    whole_s: float | None
    ending: str
    equal: bool


def losses(out: str) -> str:
    """What a run says it lost."""
    lines = [line.strip() for line in out.splitlines() if line.strip().startswith("lost: ")]
    return lines[0].removeprefix("lost: ").partition(";")[0] if lines else "nothing"


def since_checkpoint(run: Path) -> str:
    """How many updates a run that was stopped now would do again."""
    found = checkpoint.last(run / "checkpoints").name
    return f"{last_update(run) - int(found.removeprefix('step-'))} updates since {found}"


def actor(bench: Bench) -> Outcome:
    """A rollout actor is killed."""
    run = bench.out / "actor"
    process = bench.start(run, *ACTORS)
    bench.until(run, process, 40)
    victim, moment = actors(process.pid)[0], time.time()
    os.kill(victim, signal.SIGKILL)
    whole = wait_for(
        lambda: len({*actors(process.pid)} - {victim}) == 2 or process.poll() is not None,
        "a new actor",
    )
    lost = losses(finish(process))
    equal = same(run, bench.undisturbed("--staleness", "1"))
    return Outcome("rollout actor SIGKILLed", lost, gap_after(run, moment), whole, SURVIVED, equal)


def driver(bench: Bench) -> Outcome:
    """The driver is killed; what Ray leaves behind is ended by hand."""
    run = bench.out / "driver"
    process = bench.start(run, *ACTORS)
    bench.until(run, process, 70)
    left = descendants(process.pid)
    process.kill()
    process.communicate()
    lost = since_checkpoint(run)
    end_all(left)
    seconds = resume(bench, run)
    equal = same(run, bench.undisturbed("--staleness", "1"))
    return Outcome("driver SIGKILLed", lost, seconds, None, "exit code -9", equal)


def node(bench: Bench) -> Outcome:
    """A node with a rollout actor is lost; another joins twenty updates later."""
    run = bench.out / "node"
    with Nodes(head_cpus=0) as nodes:
        victim = nodes.add(1)
        nodes.add(1)
        process = bench.start(run, *ACTORS, "--address", nodes.address, **nodes.environment)
        bench.until(run, process, 40)
        moment = time.time()
        nodes.lose(victim)
        bench.until(run, process, last_update(run) + 20)
        nodes.add(1)
        wait_for(lambda: len(actors(os.getpid())) == 2 or process.poll() is not None, "a new actor")
        whole = time.time() - moment
        lost = losses(finish(process))
    equal = same(run, bench.undisturbed("--staleness", "1"))
    return Outcome("node lost, another joins", lost, gap_after(run, moment), whole, SURVIVED, equal)


def learner(bench: Bench) -> Outcome:
    """A learner worker is killed: Ray Train restarts the group from the last checkpoint."""
    run, baseline = bench.out / "learner", bench.out / "undisturbed-learner"
    words = ["--learner-workers", "2", "--rollout-workers", "2"]
    with Nodes(head_cpus=4) as nodes:
        words += ["--address", nodes.address]
        finish(bench.start(baseline, *words, **nodes.environment))
        process = bench.start(run, *words, **nodes.environment)
        bench.until(run, process, 50)
        moment = time.time()
        os.kill(actors(os.getpid(), "TrainWorker")[0], signal.SIGKILL)
        lost = since_checkpoint(run)
        finish(process)
    seconds = gap_after(run, moment)
    equal = same(run, baseline)
    return Outcome("learner worker SIGKILLed", lost, seconds, seconds, SURVIVED, equal)


def memory(bench: Bench) -> Outcome:
    """A rollout actor takes so much memory that Ray ends it; once."""
    run, marker = bench.out / "memory", bench.out / "hog-once"
    process = bench.start(run, *ACTORS, *HOG, **hungry(marker))
    bench.until(run, process, 40)
    moment = time.time()
    marker.write_text("once")
    lost = losses(finish(process))
    seconds = gap_after(run, moment)
    equal = same(run, bench.undisturbed("--staleness", "1", *HOG))
    return Outcome("rollout actor out of memory", lost, seconds, seconds, SURVIVED, equal)


def memory_always(bench: Bench) -> Outcome:
    """Every rollout takes too much memory, again and again."""
    run, marker = bench.out / "memory_always", bench.out / "hog-always"
    process = bench.start(run, *ACTORS, *HOG, **hungry(marker))
    bench.until(run, process, 50)
    marker.write_text("always")
    ending = ended(process)
    lost = since_checkpoint(run)
    marker.unlink()
    seconds = resume(bench, run)
    equal = same(run, bench.undisturbed("--staleness", "1", *HOG))
    return Outcome("every request out of memory", lost, seconds, None, ending, equal)


def disk(bench: Bench) -> Outcome:
    """The disk is full when a checkpoint is due."""
    folder = bench.out / "small"
    run = folder / "disk"
    with small_disk(folder, megabytes=16):
        process = bench.start(run)
        bench.until(run, process, 30)
        filler = fill(folder, leave=64 * 1024)
        ending = ended(process)
        lost = since_checkpoint(run)
        filler.unlink()
        seconds = resume(bench, run)
        equal = same(run, bench.undisturbed())
    return Outcome("disk full at a checkpoint", lost, seconds, None, ending, equal)


def store(bench: Bench) -> Outcome:
    """Another job on the cluster fills the object store: Ray spills to disk."""
    run = bench.out / "store"
    with Nodes(head_cpus=2, store_mb=80) as nodes:
        process = bench.start(run, *ACTORS, "--address", nodes.address, **nodes.environment)
        bench.until(run, process, 40)
        moment, held = time.time(), []
        put = connected(nodes.address)
        while process.poll() is None and len(held) < 100:
            held.append(put(2 * 10**6))
            time.sleep(0.05)
        lost = losses(finish(process))
    equal = same(run, bench.undisturbed("--staleness", "1"))
    seconds = gap_after(run, moment)
    return Outcome("object store full", lost, seconds, seconds, SURVIVED, equal)


def store_and_disk(bench: Bench) -> Outcome:
    """The same, where Ray may not use the disk."""
    run = bench.out / "store_and_disk"
    with Nodes(head_cpus=2, store_mb=80, RAY_local_fs_capacity_threshold="0.01") as nodes:
        put = connected(nodes.address)
        from ray.exceptions import ObjectStoreFullError, OutOfDiskError

        held = [put(10**6) for _ in range(60)]
        process = bench.start(run, *ACTORS, "--address", nodes.address, **nodes.environment)
        bench.until(run, process, 50)
        while process.poll() is None:  # what the run gives back is taken as well
            with suppress(ObjectStoreFullError, OutOfDiskError):
                held.append(put(10**5))
        ending = ended(process)
        lost = since_checkpoint(run)
        held.clear()
        seconds = resume(bench, run, "--address", nodes.address, **nodes.environment)
    equal = same(run, bench.undisturbed("--staleness", "1"))
    return Outcome("object store and disk full", lost, seconds, None, ending, equal)


def connected(address: str) -> Callable[[int], object]:
    """Join a cluster as another job; gives what puts so many bytes into its store."""
    import numpy as np
    import ray

    ray.init(address=address, log_to_driver=False)
    return lambda size: ray.put(np.zeros(size, np.uint8))


FAULTS: dict[str, Callable[[Bench], Outcome]] = {
    made.__name__: made
    for made in (actor, driver, node, learner, memory, memory_always, disk, store, store_and_disk)
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=UPDATES, default="cpu")
    parser.add_argument("--faults", default=",".join(FAULTS), help="some of them")
    parser.add_argument("--out", type=Path, default=None, help="default: a temporary folder")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    names = [name for name in options.faults.split(",") if name]
    for name in names:
        if name not in FAULTS:
            parser.error(f"unknown fault {name!r}; there are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        bench = Bench((options.out or Path(temporary)).resolve(), UPDATES[options.scale])
        outcomes = []
        for name in names:
            outcomes.append(FAULTS[name](bench))
            print(outcomes[-1], flush=True)
    rows = [row(outcome) for outcome in outcomes]
    header = ["fault", "lost", "next update", "whole again", "how it ended", "equal"]
    print_table(f"faults, {bench.updates} updates, scale {options.scale}", header, rows)
    print(f"{machine()}")
    if options.json:
        values: Any = {name: asdict(o) for name, o in zip(names, outcomes, strict=True)}
        document = {"scale": options.scale, "results": values} | machine()
        options.json.write_text(json.dumps(document, indent=2))


def row(outcome: Outcome) -> list[str]:
    """Of the table."""
    whole = "-" if outcome.whole_s is None else f"{outcome.whole_s:.1f} s"
    equal = ("yes" if outcome.equal else "NO") + ("" if outcome.ending == SURVIVED else ", resumed")
    seconds = f"{outcome.next_update_s:.1f} s"
    return [outcome.fault, outcome.lost, seconds, whole, outcome.ending, equal]


if __name__ == "__main__":
    main()
