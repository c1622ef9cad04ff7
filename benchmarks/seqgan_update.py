"""One SeqGAN generator update: completions in one batch against a pass for each of them.

    python -m benchmarks.seqgan_update --scale smoke|cpu [--json FILE]

Ours types all N completions of every prefix from the policy's memory of the prefix, judges them
together, and takes one step of the learner. The baseline is the loop of the older codebases: for
each completion and each prefix length a pass over the batch with nn.LSTMCell, softmax and
multinomial, and the discriminator on what comes out. Same network, same discriminator weights, same
batch, one thread; the mean action values of both are printed beside each other.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import machine, print_table
from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.discriminators import DiscriminatorConfig, SequenceNetwork
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.types import ActionSpace, Sequences, Trajectories

SCALES: dict[str, dict[str, int]] = {
    "smoke": {"vocabulary": 100, "length": 6, "batch": 8, "completions": 2, "repeats": 1},
    "cpu": {"vocabulary": 5000, "length": 20, "batch": 64, "completions": 16, "repeats": 3},
}
HIDDEN = 32


class Naive:
    """The loop as it is written elsewhere."""

    def __init__(self, policy: LSTMPolicy, judge: SequenceNetwork) -> None:
        self.policy, self.judge = policy, judge
        self.cell = nn.LSTMCell(HIDDEN, HIDDEN)
        weights = dict(
            zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
                policy.lstm.all_weights[0],
                strict=True,
            )
        )
        for name, weight in weights.items():
            setattr(self.cell, name, weight)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)

    def update(self, batch: int, completions: int) -> Tensor:
        """One generator update; the action values [B, T]."""
        length = self.policy.space.max_length
        with torch.no_grad():
            tokens_BT = self.complete(torch.zeros(batch, 0, dtype=torch.int64))
            values_BT = torch.zeros(batch, length)
            for _ in range(completions):
                for given in range(1, length):
                    values_BT[:, given - 1] += self.verdict(self.complete(tokens_BT[:, :given]))
            values_BT /= completions
            values_BT[:, -1] = self.verdict(tokens_BT)
        loss = -(values_BT * self.log_probs(tokens_BT)).sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), 5.0)
        self.optimizer.step()
        return values_BT

    def complete(self, given_BP: Tensor) -> Tensor:
        """Feed what is given, then draw the rest."""
        space = self.policy.space
        batch, kept = given_BP.shape
        h = c = torch.zeros(batch, HIDDEN)
        token_B = torch.full((batch,), space.start_id)
        tokens = []
        for place in range(space.max_length):
            h, c = self.cell(self.policy.embedding(token_B), (h, c))
            if place < kept:
                token_B = given_BP[:, place]
            else:
                probs_BV = torch.softmax(self.policy.head(h), dim=1)
                token_B = torch.multinomial(probs_BV, 1).squeeze(1)
            tokens.append(token_B)
        return torch.stack(tokens, dim=1)

    def log_probs(self, tokens_BT: Tensor) -> Tensor:
        """Of each token, [B, T]."""
        h = c = torch.zeros(len(tokens_BT), HIDDEN)
        token_B = torch.full((len(tokens_BT),), self.policy.space.start_id)
        found = []
        for place in range(tokens_BT.shape[1]):
            h, c = self.cell(self.policy.embedding(token_B), (h, c))
            token_B = tokens_BT[:, place]
            scores_BV = torch.log_softmax(self.policy.head(h), dim=1)
            found.append(scores_BV.gather(1, token_B.unsqueeze(1)))
        return torch.cat(found, dim=1)

    def verdict(self, tokens_BT: Tensor) -> Tensor:
        """D(x), by torch's own convolutions."""
        lengths_B = torch.full((len(tokens_BT),), tokens_BT.shape[1])
        return torch.sigmoid(self.judge(Sequences(tokens_BT, lengths_B)))


class Ours:
    """The sampler and the learner of a run, with a clock in each part."""

    def __init__(self, policy: LSTMPolicy, filters: Any) -> None:
        config = SeqGANConfig(discriminator=DiscriminatorConfig(filters=filters))
        context = Context(policy.space, 64, torch.device("cpu"), Alone())
        self.learner = SeqGAN(policy, config, context)
        self.judge = self.learner.reward.eval()
        self.sampler = Sampler(policy, self._verdict)
        self.seconds: list[dict[str, float]] = []

    def _verdict(self, trajectories: Trajectories) -> Tensor:
        began = time.perf_counter()
        value_B = self.judge(trajectories)
        self.seconds[-1]["judging"] += time.perf_counter() - began
        return value_B

    def update(self, batch: int, completions: int) -> Tensor:
        """One generator update; the action values [B, T]."""
        self.seconds.append({"judging": 0.0})
        began = time.perf_counter()
        request = Request(len(self.seconds), 0, batch, completions=completions)
        rollouts = self.sampler.sample(request)
        typed = time.perf_counter()
        self.learner.teach_generator(rollouts, rollouts)
        ended = time.perf_counter()
        now = self.seconds[-1]
        now |= {"typing": typed - began - now["judging"], "learning": ended - typed}
        now |= {"ours": ended - began}
        assert rollouts.action_values_BT is not None
        return rollouts.action_values_BT


def matrix_speed() -> float:
    """Operations a second of a large float32 matrix product, one thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    found = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        found.append(time.perf_counter() - began)
    return 2 * 1024**3 / median(found)


def operations(space: ActionSpace, judge: Any, batch: int, completions: int) -> dict[str, float]:
    """Multiply-adds, counted twice, that any implementation of this arithmetic needs."""
    length = space.max_length
    steps = batch * (length + completions * length * (length - 1) // 2)
    judged = batch * (1 + completions * (length - 1))
    convolved = sum(
        2
        * layer.in_channels
        * layer.kernel_size[0]
        * layer.out_channels
        * (length - layer.kernel_size[0] + 1)
        for layer in judge.network.convolutions
    )
    highway = 4 * judge.network.num_features**2
    return {
        "typing": steps * (2 * HIDDEN * space.size + 16 * HIDDEN**2),
        "judging": float(judged * (convolved + highway)),
        "learning": 3.0 * batch * length * (2 * HIDDEN * space.size + 16 * HIDDEN**2),
    }


def measure(scale: dict[str, int], filters: str) -> dict[str, float]:
    """Seconds of both, and where ours go."""
    space = ActionSpace(scale["vocabulary"], scale["length"], eos=False)
    size = scale["batch"], scale["completions"]
    torch.manual_seed(0)
    ours = Ours(LSTMPolicy(space, LSTMConfig(embedding=HIDDEN, hidden=HIDDEN)), filters)
    theirs = LSTMPolicy(space, LSTMConfig(embedding=HIDDEN, hidden=HIDDEN))
    theirs.load_state_dict(ours.learner.policy.state_dict())
    naive = Naive(theirs, ours.judge.network)
    values = naive_values = 0.0
    naive_s = []
    for repeat in range(scale["repeats"] + 1):  # in turn; the first is to warm up
        found = ours.update(*size)
        began = time.perf_counter()
        naive_found = naive.update(*size)
        naive_s.append(time.perf_counter() - began)
        if repeat == 0:  # of the same weights
            values, naive_values = float(found.mean()), float(naive_found.mean())
    spent = {name: median(each[name] for each in ours.seconds[1:]) for name in ours.seconds[0]}
    speed = matrix_speed()
    floors = operations(space, ours.judge, *size)
    return {
        **spent,
        "naive": median(naive_s[1:]),
        "ratio": median(naive_s[1:]) / spent["ours"],
        "value": values,
        "naive_value": naive_values,
        "gflops": speed / 1e9,
        **{f"{name}_floor": count / speed for name, count in floors.items()},
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scale = SCALES[options.scale]
    results = {filters: measure(scale, filters) for filters in ("small", "official")}
    rows = [
        [
            f"{filters} CNN",
            f"{found['naive']:.2f} s",
            f"{found['ours']:.2f} s",
            f"{found['ratio']:.1f}",
            f"{found['naive_value']:.4f}",
            f"{found['value']:.4f}",
        ]
        for filters, found in results.items()
    ]
    print_table(
        f"one generator update, {scale}, 1 thread",
        ["", "a pass each", "ours", "ratio", "its mean value", "ours"],
        rows,
    )
    parts = [
        [
            f"{filters} CNN, {part}",
            f"{found[part]:.2f} s",
            f"{found[f'{part}_floor']:.2f} s",
            f"{found[f'{part}_floor'] / max(found[part], 1e-9):.0%}",
        ]
        for filters, found in results.items()
        for part in ("typing", "judging", "learning")
    ]
    print_table(
        "where ours goes, and the time of its multiply-adds alone at this machine's "
        f"{results['official']['gflops']:.0f} GFLOP/s (above 100%: looked-up convolutions do less)",
        ["", "measured", "floor", "share"],
        parts,
    )
    print(machine())
    if options.json:
        options.json.write_text(
            json.dumps({"scale": scale, "results": results} | machine(), indent=2)
        )


if __name__ == "__main__":
    main()
