"""One SeqGAN generator update: completions in one batch against a pass for each of them.

    python -m benchmarks.seqgan_update --scale smoke|cpu [--json FILE]

Ours types all N completions of every prefix from the policy's memory of the prefix, judges them
together, and takes one step of the learner. The baselines are loops (`benchmarks.seqgan_loop`): as
published; without what is computed in vain there, with the same form of the discriminator,
nn.Conv2d; and with nn.Conv1d, which is faster. Same policy, same discriminator weights, same batch,
same threads: one, and with the official CNN also as many as there are cores, which is what torch
takes where nothing is said. That all say the same of the same sequences is asserted, and mean
action values are printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import machine, print_table
from benchmarks.floors import exponentials_s
from benchmarks.seqgan_loop import Conv1dJudge, Conv2dJudge, Loop
from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.discriminators import DiscriminatorConfig, SequenceCNN
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.process import set_up
from rubout.products import product
from rubout.rollout.environment import num_cpus
from rubout.rollout.sampler import Request, Sampler
from rubout.types import ActionSpace, Sequences, Trajectories

SCALES: dict[str, dict[str, int]] = {
    "smoke": {"vocabulary": 100, "length": 6, "batch": 8, "completions": 2, "repeats": 1},
    "cpu": {"vocabulary": 5000, "length": 20, "batch": 64, "completions": 16, "repeats": 2},
}
HIDDEN = 32
LOOPS = {
    "published": (Conv2dJudge, True),
    "Conv2d": (Conv2dJudge, False),
    "Conv1d": (Conv1dJudge, False),
}
PARTS = ("typing", "judging", "learning")
# Of SeqGAN's discriminator, from another network to rounding of the operands (unit 2^-8).
CLOSE = {"float32": 1e-5, "bfloat16": 2e-2}


def new_policy(space: ActionSpace) -> LSTMPolicy:
    """The generator of all."""
    return LSTMPolicy(space, LSTMConfig(embedding=HIDDEN, hidden=HIDDEN))


class Ours:
    """The sampler and the learner of a run, with a clock in each part."""

    def __init__(self, space: ActionSpace, discriminator: DiscriminatorConfig) -> None:
        torch.manual_seed(0)
        config = SeqGANConfig(discriminator=discriminator)
        context = Context(space, 64, torch.device("cpu"), Alone())
        self.learner = SeqGAN(new_policy(space), config, context)
        self.judge = self.learner.reward.eval()
        self.sampler = Sampler(self.learner.policy, self._verdict)
        self.seconds: list[dict[str, float]] = []

    @property
    def network(self) -> SequenceCNN:
        """The discriminator's."""
        assert isinstance(self.judge.network, SequenceCNN)
        return self.judge.network

    def _verdict(self, trajectories: Trajectories) -> Tensor:
        began = time.perf_counter()
        value_B = self.judge(trajectories)
        self.seconds[-1]["judging"] += time.perf_counter() - began
        return value_B

    @torch.no_grad()
    def _learned(self) -> None:
        """Change what no full sequence reads: in a run D has learned since and needs new tables."""
        self.network.embedding.weight[-1].add_(0.01)

    def update(self, batch: int, completions: int) -> Tensor:
        """One generator update; the action values [B, T]."""
        self._learned()
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


@dataclass(frozen=True)
class Speeds:
    """What this machine's arithmetic can do, by the threads in use.

    Attributes:
        operations: a second, of a large matrix product, by precision.
        exponential_s: seconds of one among logits that stay in the cache.
    """

    operations: dict[str, float]
    exponential_s: float

    @staticmethod
    def measured() -> Speeds:
        """Now."""
        a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        narrow_a, narrow_b = a.bfloat16(), b.bfloat16()
        products: dict[str, Callable[[], Tensor]] = {
            "float32": lambda: product(a, b),
            "bfloat16": lambda: functional.linear(narrow_a, narrow_b),
        }
        return Speeds(
            {name: 2 * 1024**3 / _median_seconds(work) for name, work in products.items()},
            exponentials_s(5000) / 5000,
        )


def _median_seconds(work: Callable[[], Tensor]) -> float:
    found = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return median(found)


def floors(ours: Ours, batch: int, completions: int, speeds: Speeds) -> dict[str, float]:
    """Seconds of what no implementation can leave out.

    Typing: the products and an exponential of every logit; all completions of a prefix share the
    first. Judging: the highway layer's products in the precision in use; convolutions can be looked
    up. Learning: the products.
    """
    space, network = ours.learner.policy.space, ours.network
    length, full = space.max_length, speeds.operations["float32"]
    steps = batch * (2 * length - 1 + completions * (length - 1) * (length - 2) // 2)
    judged = batch * (1 + completions * (length - 1))
    step = 2 * HIDDEN * space.size + 16 * HIDDEN**2
    highway = 4 * network.num_features**2
    return {
        "typing": steps * (step / full + space.size * speeds.exponential_s),
        "judging": judged * highway / speeds.operations[network.precision],
        "learning": 3 * batch * length * step / full,
    }


@torch.no_grad()
def check_same(space: ActionSpace, all_ours: dict[str, Ours]) -> None:
    """All judges say the same of the same sequences, to the rounding of their precision."""
    tokens_BL = torch.randint(0, space.num_tokens, (700, space.max_length))  # enough to look up
    given = Sequences(tokens_BL, torch.full((len(tokens_BL),), space.max_length))
    network = next(iter(all_ours.values())).network
    expected_B = Conv1dJudge(network)(tokens_BL)
    torch.testing.assert_close(Conv2dJudge(network)(tokens_BL), expected_B, rtol=1e-5, atol=1e-5)
    for precision, ours in all_ours.items():
        size = CLOSE[precision]
        found_B = torch.sigmoid(ours.network(given))
        torch.testing.assert_close(found_B, expected_B, rtol=size, atol=size)


def measure(
    scale: dict[str, int], filters: Any, precisions: tuple[Any, ...], threads: int
) -> dict[str, Any]:
    """Seconds of all loops and of ours in each precision, and where ours go."""
    torch.set_num_threads(threads)
    space = ActionSpace(scale["vocabulary"], scale["length"], eos=False)
    size = scale["batch"], scale["completions"]
    options = {name: DiscriminatorConfig(filters=filters, precision=name) for name in precisions}
    all_ours = {name: Ours(space, config) for name, config in options.items()}
    check_same(space, all_ours)
    first = all_ours[precisions[0]]
    loops = {}
    for name, (judge_of, in_vain) in LOOPS.items():
        policy = new_policy(space)
        policy.load_state_dict(first.learner.policy.state_dict())
        loops[name] = Loop(policy, judge_of(first.network), in_vain=in_vain)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    values: dict[str, list[float]] = {name: [] for name in [*loops, *all_ours]}
    for _ in range(scale["repeats"] + 1):  # in turn; the first is to warm up
        for name, ours in all_ours.items():
            values[name].append(float(ours.update(*size).mean()))
        for name, loop in loops.items():
            began = time.perf_counter()
            values[name].append(float(loop.update(*size).mean()))
            seconds[name].append(time.perf_counter() - began)
    shared = {name: median(found[1:]) for name, found in seconds.items()}
    shared["loop_value"] = values["Conv2d"][0]  # the first are of the same weights
    with_threads = "1 thread" if threads == 1 else f"{threads} threads"
    return {
        f"{filters} CNN, {name}, {with_threads}": shared
        | _figures(ours, size)
        | {"value": values[name][0]}
        for name, ours in all_ours.items()
    }


def _figures(ours: Ours, size: tuple[int, int]) -> dict[str, float]:
    """Where ours goes, and what each part cannot go below."""
    spent = {name: median(each[name] for each in ours.seconds[1:]) for name in ours.seconds[0]}
    speeds = Speeds.measured()
    least = floors(ours, *size, speeds)
    precision = ours.network.precision
    return {
        **spent,
        **{f"{part}_floor": least[part] for part in PARTS},
        "gflops": speeds.operations[precision] / 1e9,
        "exponential_ns": speeds.exponential_s * 1e9,
    }


def print_all(scale: dict[str, int], results: dict[str, dict[str, float]]) -> None:
    """Both tables."""
    rows = [
        [
            name,
            *[f"{found[loop]:.2f} s" for loop in LOOPS],
            f"{found['ours']:.2f} s",
            *[f"{found[loop] / found['ours']:.1f}" for loop in LOOPS],
            f"{found['loop_value']:.4f}",
            f"{found['value']:.4f}",
        ]
        for name, found in results.items()
    ]
    names = [f"loop, {name}" for name in LOOPS], [f"times {name}" for name in LOOPS]
    header = ["", *names[0], "ours", *names[1]]
    print_table(
        f"one generator update, {scale}",
        [*header, "loop's mean value", "ours"],
        rows,
    )
    parts = [
        [
            f"{name}: {part}",
            f"{found[part]:.2f} s",
            f"{found[f'{part}_floor']:.2f} s",
            f"{found[f'{part}_floor'] / max(found[part], 1e-9):.0%}",
        ]
        for name, found in results.items()
        for part in PARTS
    ]
    print_table(
        "where ours goes, and what it cannot go below", ["", "measured", "floor", "share"], parts
    )
    for name, found in results.items():
        print(
            f"{name}: products at {found['gflops']:.0f} GFLOP/s, "
            f"{found['exponential_ns']:.2f} ns an exponential"
        )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    set_up(1)
    scale = SCALES[options.scale]
    results = measure(scale, "small", ("float32",), 1)
    for threads in sorted({1, num_cpus()}):
        results |= measure(scale, "official", ("float32", "bfloat16"), threads)
    print_all(scale, results)
    print(machine())
    if options.json:
        options.json.write_text(
            json.dumps({"scale": scale, "results": results} | machine(), indent=2)
        )


if __name__ == "__main__":
    main()
