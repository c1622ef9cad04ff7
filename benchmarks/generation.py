"""Tokens a second of generation, against the loop as it is usually written, and the floor.

    python -m benchmarks.generation --scale smoke|cpu [--json FILE]

One thread. The baseline is the loop of the published generators: at each step the network, softmax,
torch.multinomial, batch 64; an LSTM by nn.LSTMCell, a transformer on the whole prefix, as the small
public ones do it (it has no backspace). Ours is `Sampler.sample`, at several batch sizes. The floor
of a token is the network's products and one exponential for each logit, both as fast as they are
here on rows that stay in the cache; for an LSTM the product of the logits alone. With a backspace
an action is a token or a deletion, every tenth being one. Each has a process of its own, and they
take turns (`benchmarks.turns`): rates are the median turn's, ratios the median of the turns'.
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
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import machine, print_table
from benchmarks.floors import ROWS, exponentials_of, matrix_rate, product_of
from benchmarks.turns import Turns, take_turns
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.process import set_up
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import replay, written
from rubout.types import ActionSpace, Sequences

NAIVE_BATCH = 64
TURN_S = 0.25  # at least


@dataclass(frozen=True)
class World:
    """A network, and what it types.

    Attributes:
        config: of an LSTM, or of a transformer.
        tokens: V.
        length: L.
        batches: sequences typed at a time.
        turns: of each program.
        backspace: whether it deletes.
    """

    config: LSTMConfig | TransformerConfig
    tokens: int
    length: int
    batches: tuple[int, ...]
    turns: int
    backspace: bool = False

    def policy(self) -> NetworkPolicy:
        """With random weights, the same at every call."""
        torch.manual_seed(0)
        space = ActionSpace(self.tokens, self.length, eos=self.backspace, backspace=self.backspace)
        cls = LSTMPolicy if isinstance(self.config, LSTMConfig) else TransformerPolicy
        policy: NetworkPolicy = cls(space, self.config)
        if self.backspace:
            with torch.no_grad():
                policy.head.bias[space.backspace_id] = math.log(self.tokens / 9)
                policy.head.bias[space.eos_id] = -20.0
        return policy.eval().requires_grad_(requires_grad=False)


def worlds(scale: str) -> dict[str, World]:
    """What is measured, by name."""
    if scale == "smoke":
        small = TransformerConfig(layers=1, width=16, heads=2)
        return {
            "LSTM": World(LSTMConfig(embedding=8, hidden=8), 50, 6, (4,), 1),
            "transformer": World(small, 50, 6, (4,), 1),
            "transformer, backspace": World(small, 50, 6, (4,), 1, backspace=True),
        }
    one = TransformerConfig(layers=4, width=128, heads=4)
    ten = TransformerConfig(layers=5, width=384, heads=6)
    return {
        "oracle, LSTM 32": World(
            LSTMConfig(embedding=32, hidden=32), 5000, 20, (64, 256, 1024, 4096), 15
        ),
        "oracle, LSTM 512": World(
            LSTMConfig(embedding=512, hidden=512), 5000, 20, (64, 256, 1024), 5
        ),
        "transformer 1M": World(one, 1000, 64, (64, 256), 3),
        "transformer 1M, backspace": World(one, 1000, 64, (64, 256), 3, backspace=True),
        "transformer 10M": World(ten, 1000, 64, (64, 256), 3),
        "transformer 10M, backspace": World(ten, 1000, 64, (64, 256), 3, backspace=True),
    }


class NaiveLSTM(nn.Module):
    """An LSTM generator as it is written elsewhere."""

    def __init__(self, policy: LSTMPolicy) -> None:
        super().__init__()
        self.policy = policy
        self.cell = nn.LSTMCell(policy.config.embedding, policy.config.hidden)
        self.cell.requires_grad_(requires_grad=False)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for name, weight in zip(names, policy.lstm.all_weights[0], strict=True):
            setattr(self.cell, name, weight)

    def forward(self, batch: int) -> Tensor:
        """int64 [B, L]."""
        space = self.policy.space
        h = c = torch.zeros(batch, self.policy.config.hidden)
        token_B = torch.full((batch,), space.start_id)
        tokens = []
        for _ in range(space.max_length):
            h, c = self.cell(self.policy.embedding(token_B), (h, c))
            probs_BV = torch.softmax(self.policy.head(h), dim=1)
            token_B = torch.multinomial(probs_BV, 1).squeeze(1)
            tokens.append(token_B)
        return torch.stack(tokens, dim=1)


class NaiveTransformer(nn.Module):
    """A transformer that reads all it wrote before every token."""

    def __init__(self, policy: TransformerPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: int) -> Tensor:
        """int64 [B, L]."""
        space = self.policy.space
        tokens_BL = torch.zeros(batch, 0, dtype=torch.int64)
        for place in range(space.max_length):
            lengths_B = torch.full((batch,), place)
            logs = written(space, Sequences(tokens_BL, lengths_B))
            hidden_BD = self.policy.encode(replay(space, logs))[:, -1]
            probs_BV = torch.softmax(self.policy.head(hidden_BD), dim=1)
            token_B1 = torch.multinomial(probs_BV, 1)
            tokens_BL = torch.cat([tokens_BL, token_B1], dim=1)
        return tokens_BL


def naive(world: World) -> Callable[[], int]:
    """The loop as it is written elsewhere."""
    policy = world.policy()
    if isinstance(policy, LSTMPolicy):
        loop: nn.Module = NaiveLSTM(policy)
    else:
        assert isinstance(policy, TransformerPolicy)
        loop = NaiveTransformer(policy)

    @torch.no_grad()
    def work() -> int:
        return loop(NAIVE_BATCH).numel()

    return work


def ours(world: World, batch: int) -> Callable[[], int]:
    """The sampler."""
    sampler = Sampler(world.policy())
    return lambda: int(sampler.sample(Request(0, 0, batch)).num_actions_B.sum())


def floor(world: World) -> Callable[[], int]:
    """What nothing can leave out, of ten blocks of actions."""
    policy = world.policy()
    size, width = policy.space.size, policy.head.weight.shape[1]
    logits = [product_of(width, size, constant=True), exponentials_of(size)]
    network: list[Callable[[], Tensor]] = []
    if isinstance(policy, TransformerPolicy):
        matrices = [value.shape for value in policy.stack.parameters() if value.ndim == 2]
        network = [product_of(inputs, outputs, constant=True) for outputs, inputs in matrices]
    blocks = 10
    passes = 9 if world.backspace else 10  # a deletion takes no pass of the network

    def work() -> int:
        for block in range(blocks):
            for each in [*logits, *network] if block < passes else logits:
                each()
        return blocks * ROWS

    return work


def serve(world: World, way: str) -> None:
    """In each turn actions a second of one way: naive, floor, or ours with so many sequences."""
    torch.set_num_threads(1)
    if way != "naive":
        set_up(1)
    makers = {"naive": naive, "floor": floor}
    work = makers[way](world) if way in makers else ours(world, int(way))

    def turn() -> float:
        """For as long as it takes to be measured."""
        began, typed = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < TURN_S:
            typed += work()
        return typed / seconds

    take_turns(turn(), turn)


def measure(scale: str, name: str, world: World) -> dict[str, Any]:
    """All figures of one world: actions a second, and ours over the others'."""
    words = [sys.executable, "-m", "benchmarks.generation", "--scale", scale]
    batches = {str(batch): batch for batch in world.batches}
    names = {"naive": name.removesuffix(", backspace")} | dict.fromkeys(["floor", *batches], name)
    programs = {way: [*words, "--world", its, "--way", way] for way, its in names.items()}
    turns = Turns.of(programs, world.turns)
    return {
        "naive": turns.median("naive"),
        "floor": turns.median("floor"),
        "ours": {batch: turns.median(way) for way, batch in batches.items()},
        "over naive": {batch: turns.ratio(way, over="naive") for way, batch in batches.items()},
        "of the floor": {batch: turns.ratio(way, over="floor") for way, batch in batches.items()},
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("smoke", "cpu"), default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--world", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--way", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    found = worlds(options.scale)
    if options.world:
        serve(found[options.world], options.way)
        return
    set_up(1)
    results = {name: measure(options.scale, name, world) for name, world in found.items()}
    rows = [
        [
            name,
            str(batch),
            f"{rate:,.0f}",
            f"{figures['naive']:,.0f}",
            f"{figures['over naive'][batch]:.1f}",
            f"{figures['of the floor'][batch]:.0%}",
        ]
        for name, figures in results.items()
        for batch, rate in figures["ours"].items()
    ]
    header = ["", "batch", "tokens/s", f"naive (batch {NAIVE_BATCH})", "ratio", "of the floor"]
    print_table("generation, one thread", header, rows)
    rates = {name: f"{rate / 1e9:.0f}" for name, rate in matrix_rate().items()}
    print(f"\nGFLOP/s of a product of 1024 x 1024: {rates}")
    print(machine())
    if options.json:
        options.json.write_text(json.dumps({"results": results} | machine(), indent=2))


if __name__ == "__main__":
    main()
