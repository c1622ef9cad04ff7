"""Generation and updates on one device at large batches, and the share of the device they reach.

    python -m benchmarks.gpu --scale smoke|full [--device cuda|cpu] [--trace FOLDER] [--json FILE]

Without Ray, in one process. Batches from 1,024 to 65,536. For an LSTM of 32 and one of 512 units
over 5,000 tokens, 20 a sequence, and a transformer of 10M parameters:

- tokens a second of `Sampler.sample`, and of one update of maximum likelihood;
- operations: those of the network's and the logits' products (three times as many in an update)
  over the rate of a large float32 product, with TF32 off as in training;
- bytes: the logits written, read for their exponentials, written, and read again (twice more in an
  update), over the rate at which a large tensor is copied;
- both floors' share of the time. What is left is explained by the profile: `--trace` writes one of
  torch's for each line, to be opened in https://ui.perfetto.dev.

`--device cpu` with `--scale smoke` runs every path where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import machine, print_table
from learners.mle import MLE, MLEConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.process import set_up
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

CONFIGS: dict[str, dict[str, LSTMConfig | TransformerConfig]] = {
    "smoke": {
        "LSTM 8": LSTMConfig(embedding=8, hidden=8),
        "transformer": TransformerConfig(layers=1, width=16, heads=2),
    },
    "full": {
        "LSTM 32": LSTMConfig(embedding=32, hidden=32),
        "LSTM 512": LSTMConfig(embedding=512, hidden=512),
        "transformer 10M": TransformerConfig(layers=5, width=384, heads=6),
    },
}
BATCHES = {"smoke": (4,), "full": (1024, 4096, 16_384, 65_536)}
SIZES = {"smoke": (50, 6), "full": (5000, 20)}


class Clock:
    """Times work on a device to its end."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self._device, self._repeats = device, repeats

    def seconds(self, work: Callable[[], object]) -> float:
        """The least of several times, after one to warm up."""
        work()
        found = []
        for _ in range(self._repeats):
            self._wait()
            began = time.perf_counter()
            work()
            self._wait()
            found.append(time.perf_counter() - began)
        return min(found)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def rates(clock: Clock, device: torch.device, size: int) -> tuple[float, float]:
    """Operations and bytes a second: of a float32 product [size, size], of a copy."""
    left = torch.randn(size, size, device=device)
    product_s = clock.seconds(lambda: left @ left)
    block = torch.randn(size * size, device=device)
    copy_s = clock.seconds(lambda: block.clone())
    return 2 * size**3 / product_s, 2 * block.nbytes / copy_s


def operations(policy: NetworkPolicy) -> float:
    """Multiply-adds of one token, counted twice; an embedding is looked up."""
    matrices = [
        value.numel()
        for name, value in policy.named_parameters()
        if value.ndim == 2 and "embedding" not in name
    ]
    return 2.0 * sum(matrices)


def build(config: LSTMConfig | TransformerConfig, scale: str) -> NetworkPolicy:
    """With random weights."""
    tokens, length = SIZES[scale]
    space = ActionSpace(tokens, length, eos=False)
    cls = LSTMPolicy if isinstance(config, LSTMConfig) else TransformerPolicy
    policy: NetworkPolicy = cls(space, config)
    return policy


def works(policy: NetworkPolicy, batch: int, device: torch.device) -> dict[str, Callable[[], None]]:
    """What is measured, by name."""
    space = policy.space
    sampler = Sampler(policy, device=device)
    learner = MLE(policy, MLEConfig(), Context(space, batch, device, Alone()))
    tokens_BL = torch.randint(0, space.num_tokens, (batch, space.max_length))
    lengths_B = torch.full((batch,), space.max_length)
    data = written(space, Sequences(tokens_BL, lengths_B)).to(device)

    def generate() -> None:
        sampler.sample(Request(0, 0, batch))

    def update() -> None:
        learner.update(data, None)

    return {"generation": generate, "update": update}


def measure(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """A record for each network, batch and kind of work."""
    device = torch.device(options.device)
    clock = Clock(device, 1 if options.scale == "smoke" else 3)
    op_rate, byte_rate = rates(clock, device, 64 if options.scale == "smoke" else 8192)
    records: list[dict[str, float | str]] = []
    for name, config in CONFIGS[options.scale].items():
        for batch in BATCHES[options.scale]:
            torch.manual_seed(0)
            policy = build(config, options.scale).to(device)
            tokens = batch * policy.space.max_length
            for kind, work in works(policy, batch, device).items():
                seconds = clock.seconds(work)
                factor = 3 if kind == "update" else 1
                logit_bytes = 4.0 * policy.space.size * (6 if kind == "update" else 4)
                records.append(
                    {
                        "network": name,
                        "batch": batch,
                        "work": kind,
                        "tokens/s": tokens / seconds,
                        "of the products": factor * operations(policy) * tokens / op_rate / seconds,
                        "of the bandwidth": logit_bytes * tokens / byte_rate / seconds,
                    }
                )
                if options.trace:
                    trace(work, device, options.trace / f"{name}-{batch}-{kind}.json")
    return records


def trace(work: Callable[[], None], device: torch.device, path: Path) -> None:
    """A profile of one time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    with profile(activities=kinds) as found:
        work()
    found.export_chrome_trace(str(path).replace(" ", "-"))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=CONFIGS, default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--trace", type=Path, default=None, help="folder for torch's profiles")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "torch sees no GPU here: give --device cpu with --scale smoke, or run it there"
        )
    set_up(1)
    records = measure(options)
    rows = [
        [
            f"{record['network']}, {record['work']}",
            f"{record['batch']:,}",
            f"{record['tokens/s']:,.0f}",
            f"{record['of the products']:.0%}",
            f"{record['of the bandwidth']:.0%}",
        ]
        for record in records
    ]
    header = ["", "batch", "tokens/s", "of the products", "of the bandwidth"]
    print_table(f"on {options.device}, one process", header, rows)
    print(machine())
    if options.json:
        options.json.write_text(json.dumps({"results": records} | machine(), indent=2))


if __name__ == "__main__":
    main()
