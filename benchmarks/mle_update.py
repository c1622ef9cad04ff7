"""An epoch of maximum likelihood, against the same in plain PyTorch, and the floor.

    python -m benchmarks.mle_update --scale smoke|cpu|full [--json FILE]

An LSTM of 32 units over 5,000 tokens, 10,000 sequences of 20, batch 64, gradients clipped at 5,
Adam. One thread. The baselines are the same network as it is written elsewhere:

- older: log_softmax over [B, T, V], NLLLoss, Adam as a loop over parameters;
- cross_entropy: F.cross_entropy on [B T, V] logits, fused Adam.

The floor is the three products of the logits layer and one exponential for each logit, both as fast
as they are here on rows that stay in the cache; without torch.exp2, which only ours uses; or with
the products at torch's own rate for large matrices. "set up" is the second baseline with
`rubout.process.set_up`, which keeps freed memory: what of the ratio is only that; the others have
the allocator as torch leaves it. No process looks for garbage among what it imported, as no command
of ours does.

Each has a process of its own, and they take turns of a few updates, so that whatever else the
machine does meets all of them: seconds are the median turn's, ratios the median and the quartiles
of the turns'. The plain forms' speed differs by a third from one start of the same program to the
next, so that each is started several times.
Peak memory is how far the largest resident set of one update (Linux: VmHWM, reset before) exceeds
what was resident before it.
"""

from __future__ import annotations

import argparse
import json
import math
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
from benchmarks.floors import ROWS, exponentials_of, product_of
from benchmarks.turns import Turns, take_turns
from learners.mle import MLE, MLEConfig
from rubout.cli.quick import keeping_all
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.process import set_up
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

Way = Literal[
    "ours",
    "older",
    "cross_entropy",
    "set up",
    "floor",
    "floor without exp2",
    "floor with torch's products",
]
WAYS: tuple[Way, ...] = get_args(Way)
FLOORS = [way for way in WAYS if way.startswith("floor")]
LENGTH, WIDTH = 20, 32
TURN = 20  # updates


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        tokens: V.
        sequences: of an epoch.
        batch: of the epoch.
        widest: batch at which memory is measured.
        starts: of each.
        turns: of each after each start.
    """

    tokens: int
    sequences: int
    batch: int
    widest: int
    starts: int
    turns: int


SCALES = {
    "smoke": Scale(100, 128, 64, 128, 1, 1),
    "cpu": Scale(5000, 10_000, 64, 1024, 6, 6),
    "full": Scale(5000, 10_000, 64, 4096, 6, 10),
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
        """One step on a batch of tokens [B, L], and its loss."""
        self.optimizer.zero_grad()
        loss = self.loss(tokens_BL)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters(), MLEConfig().clip)
        self.optimizer.step()
        return float(loss.detach())


def floor(way: Way, scale: Scale) -> Callable[[Tensor], float]:
    """The work of an update that nothing can leave out."""
    torchs = way == "floor with torch's products"
    exponentials = exponentials_of(scale.tokens, base_two=way != "floor without exp2")
    products = [
        product_of(WIDTH, scale.tokens),  # the logits
        product_of(scale.tokens, WIDTH),  # the gradient of the hidden states
        product_of(WIDTH, scale.tokens),  # that of the weight: as many operations
    ]
    blocks_of_all = math.ceil(max(scale.batch, scale.widest) * LENGTH / ROWS)
    operations = 3 * ROWS * WIDTH * scale.tokens  # of a block, in multiplications
    large = torch.randn(1024, 1024), torch.randn(1024, blocks_of_all * operations // 1024**2)

    def update(tokens_BL: Tensor) -> float:
        """As much as a batch of tokens [B, L] takes; there is no loss."""
        blocks = math.ceil(tokens_BL.numel() / ROWS)
        if torchs:  # as many operations in one large product
            torch.mm(large[0], large[1][:, : blocks * operations // 1024**2])
        for _ in range(blocks):
            exponentials()
            for product in () if torchs else products:
                product()
        return 0.0

    return update


def updater(way: Way, scale: Scale) -> Callable[[Tensor], float]:
    """What makes one update of a batch of tokens [B, L], and gives its loss."""
    if way in FLOORS:
        return floor(way, scale)
    if way != "ours":
        return Plain(scale.tokens, older=way == "older").update
    space = ActionSpace(scale.tokens, LENGTH, eos=False)
    policy = LSTMPolicy(space, LSTMConfig(embedding=WIDTH, hidden=WIDTH))
    context = Context(space, scale.batch, torch.device("cpu"), Alone())
    learner = MLE(policy, MLEConfig(), context)

    def update(tokens_BL: Tensor) -> float:
        """One step on a batch of tokens [B, L], and its loss."""
        lengths_B = torch.full((len(tokens_BL),), LENGTH)
        data = written(space, Sequences(tokens_BL, lengths_B))
        return learner.update(data, None)["loss"]

    return update


def serve(way: Way, scale: Scale) -> None:
    """Megabytes of a wide update, then in each turn the seconds of an update."""
    torch.set_num_threads(1)
    if way not in ("older", "cross_entropy"):
        set_up(1)
    torch.manual_seed(0)
    with keeping_all():
        update = updater(way, scale)
    batches = torch.randint(0, scale.tokens, (scale.sequences, LENGTH)).split(scale.batch)[:TURN]
    wide_BL = torch.randint(0, scale.tokens, (scale.widest, LENGTH))
    update(batches[0][:2])
    before = resident_mb("VmRSS")
    reset_peak()
    update(wide_BL)

    def turn() -> float:
        """Seconds an update."""
        began = time.perf_counter()
        for batch_BL in batches:
            update(batch_BL)
        return (time.perf_counter() - began) / len(batches)

    take_turns(resident_mb("VmHWM") - before, turn)


def measure(name: str) -> dict[Way, dict[str, float]]:
    """Of each: seconds of an epoch, their ratio to ours, and megabytes."""
    scale = SCALES[name]
    words = [sys.executable, "-m", "benchmarks.mle_update", "--scale", name, "--one"]
    turns = Turns.of({way: [*words, way] for way in WAYS}, scale.turns, scale.starts)
    found: dict[Way, dict[str, float]] = {}
    for way in WAYS:
        lower, middle, upper = turns.quartiles(way, over="ours")
        found[way] = {
            "seconds": scale.sequences / scale.batch * turns.median(way),
            "over ours": middle,
            "over ours, lower": lower,
            "over ours, upper": upper,
            "mb": turns.ready[way],
        }
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    scale = SCALES[options.scale]
    if options.one:
        serve(options.one, scale)
        return
    results = measure(options.scale)
    rows = []
    for way, found in results.items():
        programs = way not in FLOORS
        rows.append(
            [
                way,
                f"{found['seconds']:.2f}",
                f"{found['over ours']:.2f}",
                f"{found['over ours, lower']:.2f} to {found['over ours, upper']:.2f}",
                f"{found['mb']:.0f}" if programs else "",
                f"{results['ours']['mb'] / found['mb']:.3f}" if programs else "",
            ]
        )
    print_table(
        f"an epoch of MLE, {scale.sequences:,} x {LENGTH}, V={scale.tokens}, batch {scale.batch}; "
        f"peak memory of an update of {scale.widest}",
        ["", "seconds", "over ours", "quartiles", "MB", "ours over it"],
        rows,
    )
    for way in FLOORS:
        print(f"ours reaches {results[way]['over ours']:.0%} of the {way}")
    print(machine())
    if options.json:
        options.json.write_text(json.dumps({"results": results} | machine(), indent=2))


if __name__ == "__main__":
    main()
