"""Peak memory and time of scoring: `linear_scores` against cross_entropy on all logits.

    python -m benchmarks.scoring_memory [--scale smoke|cpu|full]

An LSTM of 32 units over 5,000 tokens, 20 a sequence: forward and backward of the mean NLL. Ours is
`policy.score(..., {"log_probs"})`; the baseline is the same LSTM, its head applied to every state
at once, [B, T, V], and torch's F.cross_entropy. Each figure is a process of its own: peak memory is
how far its largest resident set during one pass (Linux: VmHWM, reset before) exceeds what was
resident before it, so imports, weights and data are not in it; time is the best of several later
passes. One thread.
A ratio below 1 favours ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import machine, print_table
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import replay, written
from rubout.types import ActionSpace, Sequences, Trajectories

Way = Literal["ours", "baseline"]
LENGTH, TOKENS = 20, 5000


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        batches: batch sizes.
        passes: timed; the best counts.
    """

    batches: tuple[int, ...]
    passes: int


SCALES = {
    "smoke": Scale((256,), 1),
    "cpu": Scale((64, 256, 1024), 3),
    "full": Scale((64, 128, 256, 512, 1024), 10),
}


def loss_of(way: Way, policy: LSTMPolicy, data: Trajectories) -> Tensor:
    """The mean NLL per action."""
    if way == "ours":
        log_probs_BT = policy.score(data, {"log_probs"}).log_probs_BT
        assert log_probs_BT is not None
        return -log_probs_BT.mean()
    hidden_BTD = policy.encode(replay(policy.space, data))[:, :-1]
    logits_BTA = policy.head(hidden_BTD)
    return functional.cross_entropy(logits_BTA.flatten(0, 1), data.actions_BT.flatten())


def measure(way: Way, batch_size: int, passes: int) -> dict[str, float]:
    """Megabytes, seconds and the loss, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    policy = LSTMPolicy(ActionSpace(TOKENS, LENGTH, eos=False), LSTMConfig())
    loss_of(way, policy, _data(policy.space, 2)).backward()  # type: ignore[no-untyped-call]
    data = _data(policy.space, batch_size)
    before = _resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is the present one
    loss = loss_of(way, policy, data)
    loss.backward()  # type: ignore[no-untyped-call]
    peak = _resident_mb("VmHWM") - before
    seconds = []
    for _ in range(passes):
        policy.zero_grad()
        began = time.perf_counter()
        loss_of(way, policy, data).backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - began)
    return {"mb": peak, "seconds": min(seconds), "loss": float(loss)}


def apart(way: Way, batch_size: int, passes: int) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.scoring_memory", "--one", way]
    words += ["--batch-size", str(batch_size), "--passes", str(passes)]
    found = subprocess.run(words, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(found.stdout)
    return figures


def _data(space: ActionSpace, batch_size: int) -> Trajectories:
    tokens_BL = torch.randint(0, TOKENS, (batch_size, LENGTH))
    return written(space, Sequences(tokens_BL, torch.full((batch_size,), LENGTH)))


def _resident_mb(field: Literal["VmRSS", "VmHWM"]) -> float:
    """This process's resident set, or the largest it has been since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--one", choices=get_args(Way), help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--passes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.batch_size, options.passes)))
        return
    scale = SCALES[options.scale]
    rows = []
    for batch_size in scale.batches:
        ours = apart("ours", batch_size, scale.passes)
        base = apart("baseline", batch_size, scale.passes)
        assert abs(ours["loss"] - base["loss"]) < 1e-4, (ours, base)
        rows.append(
            [
                str(batch_size),
                f"{ours['mb']:.0f}",
                f"{base['mb']:.0f}",
                f"{ours['mb'] / base['mb']:.3f}",
                f"{ours['seconds'] * 1000:.0f}",
                f"{base['seconds'] * 1000:.0f}",
                f"{ours['seconds'] / base['seconds']:.2f}",
            ]
        )
    print_table(
        f"NLL, forward and backward, L={LENGTH}, V={TOKENS}: linear_scores / cross_entropy",
        ["B", "ours MB", "baseline MB", "ratio", "ours ms", "baseline ms", "ratio"],
        rows,
    )
    print("\npeak memory: growth of VmHWM over one pass, in a process of its own")
    print(machine())


if __name__ == "__main__":
    main()
