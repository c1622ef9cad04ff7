"""Tokens a second of generation, against the loop as it is usually written, and the floor.

    python -m benchmarks.generation --scale smoke|cpu [--json FILE]

One thread. The baseline is the loop of the published generators, in a process of its own: at each
step the network, softmax, torch.multinomial, batch 64; an LSTM by nn.LSTMCell, a transformer on the
whole prefix, as the small public ones do it (it has no backspace). Ours is `Sampler.sample`, at
several batch sizes. The floor of a token is the network's products and one exponential for each
logit, both as fast as they are here on rows that stay in the cache; for an LSTM the product of
the logits alone. With a backspace an action is a token or a deletion, every tenth being one.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import best, machine, print_table
from benchmarks.floors import exponentials_s, matrix_rate, product_s
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.process import set_up
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import replay, written
from rubout.types import ActionSpace, Sequences

NAIVE_BATCH = 64


@dataclass(frozen=True)
class World:
    """A network, and what it types.

    Attributes:
        config: of an LSTM, or of a transformer.
        tokens: V.
        length: L.
        batches: sequences typed at a time.
        backspace: whether it deletes.
    """

    config: LSTMConfig | TransformerConfig
    tokens: int
    length: int
    batches: tuple[int, ...]
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
            "LSTM": World(LSTMConfig(embedding=8, hidden=8), 50, 6, (4,)),
            "transformer": World(small, 50, 6, (4,)),
            "transformer, backspace": World(small, 50, 6, (4,), backspace=True),
        }
    one = TransformerConfig(layers=4, width=128, heads=4)
    ten = TransformerConfig(layers=5, width=384, heads=6)
    return {
        "oracle, LSTM 32": World(
            LSTMConfig(embedding=32, hidden=32), 5000, 20, (64, 256, 1024, 4096)
        ),
        "oracle, LSTM 512": World(LSTMConfig(embedding=512, hidden=512), 5000, 20, (64, 256, 1024)),
        "transformer 1M": World(one, 1000, 64, (64, 256)),
        "transformer 1M, backspace": World(one, 1000, 64, (64, 256), backspace=True),
        "transformer 10M": World(ten, 1000, 64, (64, 256)),
        "transformer 10M, backspace": World(ten, 1000, 64, (64, 256), backspace=True),
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


def naive_rate(world: World, repeats: int) -> float:
    """Tokens a second of the loop as it is written elsewhere."""
    torch.set_num_threads(1)
    policy = world.policy()
    if isinstance(policy, LSTMPolicy):
        loop: nn.Module = NaiveLSTM(policy)
    else:
        assert isinstance(policy, TransformerPolicy)
        loop = NaiveTransformer(policy)
    with torch.no_grad():
        loop(2)
        return NAIVE_BATCH * world.length / best(lambda: loop(NAIVE_BATCH), repeats)


def apart(scale: str, name: str) -> float:
    """`naive_rate` in a process of its own, which torch alone has set up."""
    words = [sys.executable, "-m", "benchmarks.generation", "--scale", scale, "--naive", name]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def our_rate(world: World, batch: int, repeats: int) -> float:
    """Actions a second of the sampler."""
    sampler = Sampler(world.policy())
    typed = int(sampler.sample(Request(0, 0, batch)).num_actions_B.sum())
    return typed / best(lambda: sampler.sample(Request(0, 0, batch)), repeats)


def floor_s(world: World) -> float:
    """Seconds of one action at the machine's own speed."""
    policy = world.policy()
    size, width = policy.space.size, policy.head.weight.shape[1]
    logits = product_s(width, size) + exponentials_s(size)
    if isinstance(world.config, LSTMConfig):
        return logits
    matrices = [value.shape for name, value in policy.stack.named_parameters() if value.ndim == 2]
    network = sum(product_s(inputs, outputs) for outputs, inputs in matrices)
    share = 0.9 if world.backspace else 1.0  # a deletion takes no pass of the network
    return logits + share * network


def measure(scale: str, name: str, world: World) -> dict[str, Any]:
    """All figures of one world."""
    repeats = 1 if scale == "smoke" else 3
    rates = {batch: our_rate(world, batch, repeats) for batch in world.batches}
    plain = name.removesuffix(", backspace")
    return {"naive": apart(scale, plain), "ours": rates, "floor": 1 / floor_s(world)}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("smoke", "cpu"), default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    parser.add_argument("--naive", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    found = worlds(options.scale)
    if options.naive:
        print(naive_rate(found[options.naive], 1 if options.scale == "smoke" else 2))
        return
    set_up(1)
    results = {name: measure(options.scale, name, world) for name, world in found.items()}
    rows = [
        [
            name,
            str(batch),
            f"{rate:,.0f}",
            f"{figures['naive']:,.0f}",
            f"{rate / figures['naive']:.1f}",
            f"{rate / figures['floor']:.0%}",
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
