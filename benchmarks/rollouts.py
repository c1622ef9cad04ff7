"""Rollout actors: how they scale, how they overlap with learning, and what the wire costs.

    python -m benchmarks.rollouts --scale smoke|cpu [--json FILE]

SeqGAN's world: an LSTM of 32 units, 5,000 tokens, 20 of them a sequence; every process has one
thread. Four tables:

- Sequences a second of one plain process and of two, without Ray, which is what the machine has
  to give; of one actor and of two, each with the next draw at hand (staleness 1), the driver only
  collecting. All four take turns, many and short ones, since what a machine gives wavers, and are
  started several times, since the speed of a process differs from start to start: medians of the
  turns, and medians and quartiles of the ratios within a round. Target: two actors type at least
  1.8 times as much as one, on two cores.
- Overlap: one actor, a staleness of 1, and as many rollouts an update as take as long as the
  learner's step while both work. Target: the learner waits for less than 10% of the time.
- Bytes a sequence takes on the wire, beside the floor of its actions and log-probabilities.
- Seconds to publish weights, and to fetch them in an actor, by their size.

Other programs take the cores: read the load that is printed with the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import best, machine, print_table, quartiles
from benchmarks.fleets import (
    SCALES,
    WARM,
    Figures,
    Scale,
    drawn,
    fleet_of,
    policy_of,
    spec_of,
)
from benchmarks.overlap import overlap
from benchmarks.plain_processes import PlainProcesses
from rubout.process import set_up
from rubout.rollout.environment import prepare
from rubout.rollout.sampler import Request
from rubout.rollout.source import LocalRollouts, RolloutSource
from rubout.rollout.wire import pack, pack_weights
from rubout.types import ActionSpace


def _ratio(name: str) -> dict[str, tuple[str, str]]:
    """The columns of a median with its quartiles."""
    headers = {"": "2 / 1", "_lower": "lower quartile", "_upper": "upper"}
    return {name + which: (header, ".2f") for which, header in headers.items()}


def _quartiles(name: str, ratios: Sequence[float]) -> Figures:
    """The figures of the same."""
    lower, middle, upper = quartiles(ratios)
    return {name: middle, f"{name}_lower": lower, f"{name}_upper": upper}


# By table: its title, and what each figure is called and how it is written.
TABLES: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "speed": (
        "Sequences a second (target: two actors at least 1.8 times one)",
        {
            "batch": ("sequences a part", ".0f"),
            "one_process": ("1 process", ",.0f"),
            "two_processes": ("2 processes", ",.0f"),
            **_ratio("scaling_without_ray"),
            "one_actor": ("1 actor", ",.0f"),
            "two_actors": ("2 actors", ",.0f"),
            **_ratio("scaling"),
            "driver_share": ("driver's share of a core", ".1%"),
        },
    ),
    "overlap": (
        "One actor, staleness 1 (target: waits less than 10%)",
        {
            "rollouts": ("rollouts", ".0f"),
            **{f"{what}_s": (f"{what} s", ".3f") for what in ("generating", "learning", "update")},
            "waiting_share": ("waits", ".1%"),
            "waiting_share_in_turns": ("waits, staleness 0", ".1%"),
        },
    ),
    "wire": (
        "Bytes a sequence, pickled as Ray sends them (floor: its actions and log-probabilities)",
        {
            "batch": ("sequences a part", ".0f"),
            "sent": ("sent", ".0f"),
            "floor": ("floor", ".0f"),
            "ratio": ("ratio", ".2f"),
        },
    ),
    "publishing": (
        "Weights to one actor",
        {
            "megabytes": ("MB", ".1f"),
            "put_s": ("put s", ".4f"),
            "fetch_s": ("fetch and load s", ".4f"),
        },
    ),
}


def stream(source: RolloutSource, sequences: int, draws: int) -> float:
    """Sequences a second between the first draw and the last, the next one always asked for."""
    for draw in (0, 1):
        source.request(draw, Request(draw, 0, sequences))
    source.collect(0)
    began = time.perf_counter()
    for draw in range(1, draws + 1):
        source.request(draw + 1, Request(draw + 1, 0, sequences))
        source.collect(draw)
    seconds = time.perf_counter() - began
    source.collect(draws + 1)
    return sequences * draws / seconds


def speeds(scale: Scale, batch: int) -> Figures:
    """All four, in turns."""
    found = [turn for _ in range(scale.starts) for turn in one_start(scale, batch)]
    names = ("one_process", "two_processes", "one_actor", "two_actors", "driver_share")
    return {
        "batch": batch,
        **{name: median(turn[name] for turn in found) for name in names},
        **_quartiles(
            "scaling_without_ray", [turn["two_processes"] / turn["one_process"] for turn in found]
        ),
        **_quartiles("scaling", [turn["two_actors"] / turn["one_actor"] for turn in found]),
    }


def one_start(scale: Scale, batch: int) -> list[Figures]:
    """Start all four: what they typed in each turn, sequences a second; the first is left out."""
    spec = spec_of(scale, batch)
    policy = policy_of(spec)
    found: list[Figures] = []
    with (
        closing(PlainProcesses(spec, 1)) as alone,
        closing(PlainProcesses(spec, 2)) as pair,
        fleet_of(spec, 1) as one,
        fleet_of(spec, 2) as two,
    ):
        expected = drawn(LocalRollouts(spec, policy), 2 * batch)
        for fleet in (one, two):
            fleet.publish(0, {"policy": policy})
            assert drawn(fleet, 2 * batch).actions_BT.equal(expected.actions_BT)
        in_turn = scale.drawn * scale.draws
        for _ in range(scale.rounds + 1):
            turn = {
                "one_process": alone.rate(in_turn),
                "two_processes": pair.rate(in_turn),
                "one_actor": stream(one, scale.drawn, scale.draws),
            }
            began, cpu = time.perf_counter(), time.process_time()
            turn["two_actors"] = stream(two, scale.drawn, 2 * scale.draws)
            turn["driver_share"] = (time.process_time() - cpu) / (time.perf_counter() - began)
            found.append(turn)
    return found[1:]


def wire(scale: Scale, batch: int) -> Figures:
    """What an actor sends back for a part, and the least that says the same."""
    spec = spec_of(scale, batch)
    found = drawn(LocalRollouts(spec, policy_of(spec)), batch)
    packed = pack(found, spec.space.size)
    sent = pickle.dumps(packed, protocol=5)
    floor = packed["actions"].nbytes + packed["log_probs"].nbytes
    return {
        "batch": batch,
        "sent": len(sent) / batch,
        "floor": floor / batch,
        "ratio": len(sent) / floor,
    }


def publishing(scale: Scale, width: int) -> Figures:
    """Put, and the time by which a small part takes longer where the weights are new."""
    spec = replace(spec_of(scale, 1, width), space=ActionSpace(scale.vocabulary, 1, eos=False))
    policy = policy_of(spec)
    put, old, new = [], [], []
    with fleet_of(spec, 1) as fleet:
        for version in range(2 * WARM):
            put.append(best(lambda v=version: fleet.publish(v, {"policy": policy}), times=1))
            for found in (new, old):
                found.append(best(lambda: drawn(fleet, 1), times=1))
    weights = pack_weights({"policy": policy})["policy"].values()
    megabytes = sum(array.nbytes for array in weights) / 1e6
    fetch_s = median(new[1:]) - median(old[1:])
    return {"megabytes": megabytes, "put_s": median(put), "fetch_s": fetch_s}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, help="file to write, besides the tables")
    arguments = parser.parse_args()
    set_up(1)
    prepare(None)
    from rubout.rollout.cluster import connect

    connect()
    scale, load = SCALES[arguments.scale], os.getloadavg()[0]
    measures: dict[str, Callable[[], Sequence[Figures]]] = {
        "speed": lambda: [speeds(scale, batch) for batch in scale.batches],
        "overlap": lambda: [overlap(scale)],
        "wire": lambda: [wire(scale, batch) for batch in scale.batches],
        "publishing": lambda: [publishing(scale, width) for width in scale.widths],
    }
    value: dict[str, Any] = {"machine": machine()}
    for name, (title, columns) in TABLES.items():
        rows = measures[name]()
        value[name] = rows
        cells = [[format(row[key], how) for key, (_, how) in columns.items()] for row in rows]
        print_table(title, [header for header, _ in columns.values()], cells)
    value["load"] = [load, os.getloadavg()[0]]
    print(f"\nload before and after: {value['load'][0]:.1f}, {value['load'][1]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
