"""How time and memory grow with the length, the batch and the vocabulary.

    python -m benchmarks.growth --scale smoke|cpu [--json FILE]

An LSTM of 32 units, one thread: one batch generated, and one update of maximum likelihood on it.
One size grows at a time, from length 20, batch 64 and 5,000 tokens. The exponent of a quantity is
that of the line through its first and last value on logarithmic axes: 1 is linear, below 1 is what
has a fixed part. Time is linear in all three: each token takes a product with every row of the
vocabulary. Memory is not to grow with length x batch x vocabulary, the logits: it is linear in the
vocabulary (weights, gradients, Adam's moments), and in length x batch only by tokens and hidden
states. Each figure is of a process of its own; memory is how far the largest resident set (Linux:
VmHWM) exceeds what was resident before.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.common import best, machine, print_table, reset_peak, resident_mb
from learners.mle import MLE, MLEConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.process import set_up
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

WIDTH = 32
Sizes = dict[str, int]
START: dict[str, Sizes] = {
    "smoke": {"length": 4, "batch": 4, "vocabulary": 50},
    "cpu": {"length": 20, "batch": 64, "vocabulary": 5000},
}
GROWTH: dict[str, dict[str, tuple[int, ...]]] = {
    "smoke": {"length": (4, 8)},
    "cpu": {
        "length": (20, 200, 1000),
        "batch": (64, 512, 4096),
        "vocabulary": (5000, 15_000, 50_000),
    },
}
FIGURES = ("generation s", "generation MB", "update s", "update MB")


def measure(sizes: Sizes) -> dict[str, float]:
    """Seconds and megabytes, in this process."""
    set_up(1)
    torch.manual_seed(0)
    space = ActionSpace(sizes["vocabulary"], sizes["length"], eos=False)
    policy = LSTMPolicy(space, LSTMConfig(embedding=WIDTH, hidden=WIDTH))
    sampler = Sampler(policy)
    request = Request(0, 0, sizes["batch"])
    sampler.sample(Request(0, 0, 2))
    reset_peak()
    before = resident_mb("VmRSS")
    sampler.sample(request)
    generation_mb = resident_mb("VmHWM") - before
    context = Context(space, sizes["batch"], torch.device("cpu"), Alone())
    learner = MLE(policy, MLEConfig(), context)
    tokens_BL = torch.randint(0, space.num_tokens, (sizes["batch"], space.max_length))
    lengths_B = torch.full((len(tokens_BL),), space.max_length)
    data = written(space, Sequences(tokens_BL, lengths_B))
    reset_peak()
    before = resident_mb("VmRSS")
    learner.update(data, None)
    return {
        "generation MB": generation_mb,
        "update MB": resident_mb("VmHWM") - before,
        "generation s": best(lambda: sampler.sample(request), 2),
        "update s": best(lambda: learner.update(data, None), 2),
    }


def apart(sizes: Sizes) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.growth", "--one", json.dumps(sizes)]
    found = subprocess.run(words, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(found.stdout)
    return figures


def exponent(sizes: tuple[int, ...], values: list[float]) -> float:
    """Of the line through the first and the last."""
    grown = max(values[-1], 1e-9) / max(values[0], 1e-9)
    return math.log(grown) / math.log(sizes[-1] / sizes[0])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=START, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--one", type=json.loads, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    start, rows, results = START[options.scale], [], []
    for name, sizes in GROWTH[options.scale].items():
        found = [apart({**start, name: size}) for size in sizes]
        for size, figures in zip(sizes, found, strict=True):
            results.append({**start, name: size, **figures})
            shown = [
                f"{figures[key]:.3f}" if key.endswith(" s") else f"{figures[key]:.0f}"
                for key in FIGURES
            ]
            rows.append([name, f"{size:,}", *shown])
        grown = [exponent(sizes, [figures[key] for figures in found]) for key in FIGURES]
        rows.append([f"{name}, exponent", "", *[f"{value:.2f}" for value in grown]])
    others = ", ".join(f"{name} {size:,}" for name, size in start.items())
    print_table(f"one size grows from {others}", ["", "", *FIGURES], rows)
    print(machine())
    if options.json:
        options.json.write_text(json.dumps({"results": results} | machine(), indent=2))


if __name__ == "__main__":
    main()
