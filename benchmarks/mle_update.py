"""An epoch of maximum likelihood, against the same in plain PyTorch, and the floor.

    python -m benchmarks.mle_update --scale smoke|cpu|full [--json FILE]

An LSTM of 32 units over 5,000 tokens, 10,000 sequences of 20, batch 64, gradients clipped at 5,
Adam. One thread. The baselines are the same network as it is written elsewhere:

- older: log_softmax over [B, T, V], NLLLoss, Adam as a loop over parameters;
- cross_entropy: F.cross_entropy on [B T, V] logits, fused Adam.

Every figure is of a process of its own. The baselines' are as torch leaves them; "set up" is the
second with `rubout.process.set_up`, which keeps freed memory: what of the ratio is only that. The
floor is the three products of the logits layer and one exponential for each logit, both as fast as
they are here on rows that stay in the cache, or the products at torch's own rate for large
matrices. Peak memory is how far the largest resident set of one
update (Linux: VmHWM, reset before) exceeds what was resident before it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import machine, print_table, reset_peak, resident_mb
from benchmarks.floors import exponentials_s, matrix_rate, product_s
from learners.mle import MLE, MLEConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.process import set_up
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

Way = Literal["ours", "older", "cross_entropy", "set up"]
LENGTH, WIDTH = 20, 32


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        tokens: V.
        sequences: of an epoch.
        batch: of the epoch.
        widest: batch at which memory is measured.
        epochs: timed; the best counts.
    """

    tokens: int
    sequences: int
    batch: int
    widest: int
    epochs: int


SCALES = {
    "smoke": Scale(100, 128, 64, 128, 1),
    "cpu": Scale(5000, 10_000, 64, 1024, 4),
    "full": Scale(5000, 10_000, 64, 4096, 5),
}


class Plain(nn.Module):
    """The network, its loss and its optimiser as they are written elsewhere."""

    def __init__(self, tokens: int, *, older: bool) -> None:
        super().__init__()
        self.tokens, self.older = tokens, older
        self.embedding = nn.Embedding(tokens + 1, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, tokens)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)
        ways = {"foreach": False} if older else {"fused": True}
        self.optimizer = torch.optim.Adam(self.parameters(), lr=MLEConfig().lr, **ways)

    def loss(self, tokens_BL: Tensor) -> Tensor:
        """The mean NLL."""
        inputs_BL = functional.pad(tokens_BL, (1, 0), value=self.tokens)[:, :-1]
        logits_BLV = self.head(self.lstm(self.embedding(inputs_BL))[0])
        if self.older:
            log_probs_BLV = functional.log_softmax(logits_BLV, dim=-1)
            return nn.NLLLoss()(log_probs_BLV.view(-1, self.tokens), tokens_BL.flatten())
        return functional.cross_entropy(logits_BLV.view(-1, self.tokens), tokens_BL.flatten())

    def update(self, tokens_BL: Tensor) -> float:
        """One step."""
        self.optimizer.zero_grad()
        loss = self.loss(tokens_BL)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters(), MLEConfig().clip)
        self.optimizer.step()
        return float(loss)


def updater(way: Way, scale: Scale) -> Callable[[Tensor], float]:
    """What makes one update of a batch of tokens [B, L], and gives its loss."""
    if way != "ours":
        return Plain(scale.tokens, older=way == "older").update
    space = ActionSpace(scale.tokens, LENGTH, eos=False)
    policy = LSTMPolicy(space, LSTMConfig(embedding=WIDTH, hidden=WIDTH))
    context = Context(space, scale.batch, torch.device("cpu"), Alone())
    learner = MLE(policy, MLEConfig(), context)

    def update(tokens_BL: Tensor) -> float:
        lengths_B = torch.full((len(tokens_BL),), LENGTH)
        data = written(space, Sequences(tokens_BL, lengths_B))
        return learner.update(data, None)["loss"]

    return update


def measure(way: Way, scale: Scale) -> dict[str, float]:
    """Seconds of an epoch, its last loss, and megabytes, in this process."""
    torch.set_num_threads(1)
    if way in ("ours", "set up"):
        set_up(1)
    torch.manual_seed(0)
    update = updater(way, scale)
    tokens_NL = torch.randint(0, scale.tokens, (scale.sequences, LENGTH))
    wide_BL = torch.randint(0, scale.tokens, (scale.widest, LENGTH))
    update(tokens_NL[:2])
    before = resident_mb("VmRSS")
    reset_peak()
    update(wide_BL)
    peak = resident_mb("VmHWM") - before
    seconds, loss = [], 0.0
    for _ in range(scale.epochs):
        began = time.perf_counter()
        for batch_BL in tokens_NL.split(scale.batch):
            loss = update(batch_BL)
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds), "mb": peak, "loss": loss}


def apart(way: Way, scale: str) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.mle_update", "--scale", scale, "--one", way]
    found = subprocess.run(words, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(found.stdout)
    return figures


def floors_s(scale: Scale) -> dict[str, dict[str, float]]:
    """Seconds of an epoch's logits: three products, one exponential each."""
    exponentials = exponentials_s(scale.tokens)
    products = (
        product_s(WIDTH, scale.tokens),  # the logits
        product_s(scale.tokens, WIDTH),  # the gradient of the hidden states
        product_s(WIDTH, scale.tokens),  # that of the weight: as many operations
    )
    large = 3 * 2 * WIDTH * scale.tokens / matrix_rate()["torch"]
    actions = scale.sequences * LENGTH
    return {
        "floor": {"seconds": actions * (sum(products) + exponentials)},
        "floor, torch's products": {"seconds": actions * (large + exponentials)},
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--one", choices=get_args(Way), help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale = SCALES[options.scale]
    if options.one:
        print(json.dumps(measure(options.one, scale)))
        return
    torch.set_num_threads(1)
    ways: tuple[Way, ...] = get_args(Way)
    results: dict[str, dict[str, float]] = {way: apart(way, options.scale) for way in ways}
    results |= floors_s(scale)
    ours = results["ours"]
    rows = [
        [
            name,
            f"{found['seconds']:.2f}",
            f"{found['seconds'] / ours['seconds']:.2f}",
            f"{found['mb']:.0f}" if "mb" in found else "",
            f"{ours['mb'] / found['mb']:.3f}" if "mb" in found else "",
        ]
        for name, found in results.items()
    ]
    print_table(
        f"an epoch of MLE, {scale.sequences:,} x {LENGTH}, V={scale.tokens}, batch {scale.batch}; "
        f"peak memory of an update of {scale.widest}",
        ["", "seconds", "over ours", "MB", "ours over it"],
        rows,
    )
    for name in ("floor", "floor, torch's products"):
        print(f"ours reaches {results[name]['seconds'] / ours['seconds']:.0%} of the {name}")
    print(machine())
    if options.json:
        options.json.write_text(json.dumps({"results": results} | machine(), indent=2))


if __name__ == "__main__":
    main()
