"""What the driver itself costs: requests a second over many actors, and how weights reach them.

    python -m benchmarks.controller --scale smoke|cpu|full [--workers 2,8,32,128] [--json FILE]

The real `Fleet`, over actors that sleep instead of generating and have no torch. Requests a second
are compared with the ideal (actors over the mean sleep) and with the baseline: a lock-step loop in
which every actor gets a request and all are waited for. Where the machine's cores are too few for
so many processes, both fall behind the ideal; the driver's own ceiling is the inverse of the CPU
time that it spends on a request. Its memory must not grow with the requests it has served.

Weights are put into the store once and copied by each actor into arrays of its own, against the
baseline of sending them by value with every call, and against the floor: the same bytes, copied in
this process once for every actor and once for the store.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.common import best, machine, print_table
from benchmarks.idle import IdleRequest, IdleSpec, IdleWorker
from rubout.process import set_up
from rubout.rollout.environment import prepare

_CPUS = 0.005  # reserved by an actor: it sleeps
_ALLOWED_GROWTH_MB = 16.0
_PARTS = 25  # of an update, for each actor
_SMALL = ((1, 2), (1, 8), (20, 2), (20, 8), (500, 2))  # MB of weights, actors
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {"workers": (2,), "sleep_s": 0.02, "seconds": 1.0, "sent": _SMALL[:1]},
    "cpu": {"workers": (2, 8, 32, 128), "sleep_s": 0.02, "seconds": 8.0, "sent": _SMALL},
    "full": {
        "workers": (2, 8, 32, 128, 512),
        "sleep_s": 0.02,
        "seconds": 60.0,
        "sent": (*_SMALL, (500, 8)),  # thirteen GiB
    },
}


@dataclass(frozen=True)
class Served:
    """A row of the first table.

    Attributes:
        workers: actors.
        fleet: requests a second.
        lock_step: the same, of the baseline.
        ideal: actors over the mean sleep.
        cpu_share: of one core, that the driver's process takes.
        ceiling: requests a second that would take it whole.
        requests: served while memory was watched.
        growth_mb: of the driver's memory over the second half of them.
    """

    workers: int
    fleet: float
    lock_step: float
    ideal: float
    cpu_share: float
    ceiling: float
    requests: int
    growth_mb: float


@dataclass(frozen=True)
class Sent:
    """A row of the second table; times are the best of several.

    Attributes:
        megabytes: of weights.
        workers: actors.
        reference_s: put once and copied by all.
        value_s: sent by value to all, and copied.
        floor_s: so many copies, in this process.
        stored_mb: what lies in the store after ten versions.
    """

    megabytes: int
    workers: int
    reference_s: float
    value_s: float
    floor_s: float
    stored_mb: float


def serve(workers: int, sleep_s: float, seconds: float) -> Served:
    """Keep a fleet busy for a while, one update ahead as a run of staleness 1 does."""
    from rubout.rollout.fleet import Fleet

    spec = IdleSpec(sleep_s)
    parts = _PARTS * workers
    count = parts * spec.batch
    model = {"policy": nn.Linear(8, 8)}
    with closing(Fleet(spec, workers, cpus=_CPUS, worker=IdleWorker)) as fleet:  # type: ignore[arg-type]

        def ask(update: int) -> None:
            fleet.publish(update, model)
            fleet.request(update, IdleRequest(update * count, count))  # type: ignore[arg-type]

        ask(0)
        ask(1)
        fleet.collect(0)
        began, cpu, update, sizes = time.perf_counter(), time.process_time(), 1, []
        while time.perf_counter() - began < seconds or update < 9:
            ask(update + 1)
            found = fleet.collect(update)
            assert int(found.num_actions_B[-1]) == (update + 1) * count - 1, "all, in order"
            sizes.append(_memory_mb())
            update += 1
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        fleet.collect(update)
        served = (update - 1) * parts
        lock_step = _lock_step(fleet._members, spec.batch, seconds / 2)
    return Served(
        workers,
        fleet=served / wall,
        lock_step=lock_step,
        ideal=workers / sleep_s,
        cpu_share=cpu / wall,
        ceiling=served / cpu,
        requests=served,
        growth_mb=max(sizes[-3:]) - max(sizes[: len(sizes) // 2]),
    )


def _memory_mb() -> float:
    """What this process holds for itself: without the store's pages."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _lock_step(members: Any, batch: int, seconds: float) -> float:
    """Requests a second of a loop that waits for everybody before it asks again."""
    import ray

    from rubout.rollout.wire import unpack

    began, served = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        references = [
            member.actor.sample.remote(IdleRequest((served + place) * batch, batch), 0, [None])
            for place, member in enumerate(members)
        ]
        for packed in ray.get(references):
            unpack(packed)
        served += len(references)
    return served / (time.perf_counter() - began)


def send(megabytes: int, workers: int, repeats: int) -> Sent:
    """Weights from the driver into every actor's own arrays, both ways."""
    import ray

    from rubout.rollout.fleet import Fleet
    from rubout.rollout.wire import pack_weights

    layers = [nn.Linear(512, 512, bias=False) for _ in range(megabytes)]  # 1 MiB each
    model = {"policy": nn.Sequential(*layers)}
    spec = IdleSpec(0.0, batch=1, copies=True)
    with closing(Fleet(spec, workers, cpus=_CPUS, worker=IdleWorker)) as fleet:  # type: ignore[arg-type]
        actors = [member.actor for member in fleet._members]

        def by_reference() -> None:
            fleet.publish(0, model)
            ray.get([actor.take.remote([fleet._weights]) for actor in actors])

        def by_value() -> None:
            packed = pack_weights(model)
            ray.get([actor.take.remote([packed]) for actor in actors])

        packed = pack_weights(model)["policy"]
        own = {name: np.empty_like(value) for name, value in packed.items()}

        def copies() -> None:
            for _ in range(workers + 1):
                for name, value in packed.items():
                    np.copyto(own[name], value)

        by_reference()
        before = _stored_mb()
        for _ in range(10 if megabytes < 100 else 2):
            by_reference()
        stored = _stored_mb() - before
        reference_s = best(by_reference, repeats)
        value_s = best(by_value, repeats)
        return Sent(megabytes, workers, reference_s, value_s, best(copies, repeats), stored)


def _stored_mb() -> float:
    """What lies in this node's store, once what nobody holds has left it: it may take seconds."""
    import ray
    from ray._private.internal_api import get_state_from_address, node_stats

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    found = next(iter(state.node_table()))
    address = found["NodeManagerAddress"], found["NodeManagerPort"]
    least = math.inf
    for _ in range(10):
        time.sleep(0.5)
        used = node_stats(*address, False).store_stats.object_store_bytes_used
        least = min(least, float(used) / 2**20)
    return least


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--workers", default=None, help="numbers of actors, instead of the scale's")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    set_up(1)
    scale = SCALES[options.scale]
    workers = scale["workers"]
    if options.workers:
        workers = tuple(int(word) for word in options.workers.split(","))
    prepare(None)
    from rubout.rollout.cluster import connect

    connect("local")
    served = []
    for number in workers:
        served.append(serve(number, scale["sleep_s"], scale["seconds"]))
        print(served[-1], flush=True)
    sent = [
        send(megabytes, number, repeats=3 if megabytes > 100 else 8)
        for megabytes, number in scale["sent"]
    ]
    report(served, sent, options.scale, scale)
    if options.json:
        rows = {"served": [asdict(row) for row in served], "sent": [asdict(row) for row in sent]}
        options.json.write_text(json.dumps(rows | machine(), indent=2))


def report(served: list[Served], sent: list[Sent], name: str, scale: dict[str, Any]) -> None:
    """The tables, and the verdict."""
    header = "actors;fleet;lock-step;ideal;fleet over ideal;fleet over lock-step;driver's CPU"
    rows = [
        f"{row.workers};{row.fleet:.0f};{row.lock_step:.0f};{row.ideal:.0f};"
        f"{row.fleet / row.ideal:.0%};{row.fleet / row.lock_step:.2f};{row.cpu_share:.0%};"
        f"{row.ceiling:.0f};{row.requests};{row.growth_mb:.1f} MB".split(";")
        for row in served
    ]
    print_table(
        f"requests a second, actors sleep {scale['sleep_s'] * 1000:g} ms, scale {name}",
        f"{header};driver's ceiling;requests served;memory growth".split(";"),
        rows,
    )
    growth = max(row.growth_mb for row in served)
    verdict = "does not grow" if growth <= _ALLOWED_GROWTH_MB else "GROWS"
    print(f"\nThe driver's memory {verdict}: {growth:.1f} MB; {_ALLOWED_GROWTH_MB:g} are allowed.")
    header = "MB;actors;put once;by value;by value over put once;floor;floor over put once"
    rows = [
        f"{row.megabytes};{row.workers};{row.reference_s * 1000:.1f} ms;"
        f"{row.value_s * 1000:.1f} ms;{row.value_s / row.reference_s:.2f};"
        f"{row.floor_s * 1000:.1f} ms;{row.floor_s / row.reference_s:.0%};"
        f"{row.stored_mb:.1f} MB".split(";")
        for row in sent
    ]
    print_table(
        "weights from the driver into every actor's own arrays",
        f"{header};growth of the store".split(";"),
        rows,
    )
    print(f"\n{machine()}")
    if growth > _ALLOWED_GROWTH_MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
