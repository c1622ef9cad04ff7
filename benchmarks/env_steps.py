"""Env steps per second: SequenceVectorEnv against Gymnasium's SyncVectorEnv of SequenceEnv.

    python -m benchmarks.env_steps [--scale smoke|cpu|full] [--json FILE]

One thread, random actions (backspaces and illegal ones among them), SAME_STEP, no reward. The two
take turns in one process, so that a busy machine slows both; of each the best round counts. The
ratio is what to read: above 1 the vectorised env is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from benchmarks.common import machine, print_table
from envs import SequenceEnv, SequenceVectorEnv
from rubout.process import set_up

OPTIONS = {"num_tokens": 16, "max_length": 32}
NUM_ACTIONS = 18


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        widths: numbers of envs.
        seconds: for each round of each env.
        rounds: of which the best counts.
    """

    widths: tuple[int, ...]
    seconds: float
    rounds: int


SCALES = {
    "smoke": Scale((1, 64, 4096), 0.1, 1),
    "cpu": Scale((1, 64, 4096), 0.5, 3),
    "full": Scale((1, 8, 64, 512, 4096, 32768), 2.0, 5),
}


@dataclass(frozen=True)
class Row:
    """Env steps per second at one width."""

    num_envs: int
    vector_env: float
    sync_vector_env: float
    ratio: float


def steps_per_second(step: Callable[[int], object], num_envs: int, seconds: float) -> float:
    """Call `step` until the time is over."""
    step(0)
    begin = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - begin) < seconds or count == 0:
        step(count)
        count += 1
    return count * num_envs / elapsed


def measure(num_envs: int, scale: Scale) -> Row:
    """Both envs at one width, turn about."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, NUM_ACTIONS, (64, num_envs), generator=generator)
    as_numpy = actions.numpy()
    ours = SequenceVectorEnv(num_envs, **OPTIONS)
    stock = SyncVectorEnv(
        [lambda: SequenceEnv(**OPTIONS)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP
    )
    ours.reset(seed=0)
    stock.reset(seed=0)
    rounds = [
        (
            steps_per_second(lambda i: ours.step(actions[i % 64]), num_envs, scale.seconds),
            steps_per_second(lambda i: stock.step(as_numpy[i % 64]), num_envs, scale.seconds),
        )
        for _ in range(scale.rounds)
    ]
    vector, sync = (float(best) for best in np.max(rounds, axis=0))
    return Row(num_envs, vector, sync, vector / sync)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
    set_up(1)
    scale = SCALES[arguments.scale]
    rows = [measure(width, scale) for width in scale.widths]
    cells = [
        [
            str(row.num_envs),
            f"{row.vector_env:,.0f}/s",
            f"{row.sync_vector_env:,.0f}/s",
            f"{row.ratio:.2f}",
        ]
        for row in rows
    ]
    header = ["envs", "SequenceVectorEnv", "SyncVectorEnv", "ratio"]
    print_table("env steps a second, one thread", header, cells)
    print(machine())
    if arguments.json:
        found = {"results": [asdict(row) for row in rows]} | machine()
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
