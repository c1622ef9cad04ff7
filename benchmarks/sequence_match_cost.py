"""What an update of SequenceMatch costs, over one of MLE on the same batch, and where that goes.

    python -m benchmarks.sequence_match_cost --scale smoke|cpu|full

Every objective takes the same batches, five updates in its turn, so that whatever else the machine
does hits all of them alike, and yet each finds its own code and weights in the caches; each figure
is the median over updates, one thread. From one line to the next one thing is added:

- mle: the batch as it is;
- behavioural cloning: with slips (3% of the actions), so that logs are trees;
- chi2: the values of all states, and the penalty on the data;
- chi2-mixture: one rollout from the buffer for eight sequences of data, scored and penalised;
- with rollouts: fresh ones every ten updates, in the same process;
- overlapped: the same with one Ray actor that generates while the learner learns (two processes).

The last is measured on runs of `rubout train`, MLE's beside it. `per token` is the ratio over that
of the tokens scored, backspaces and `<eos>` among them: what the objective costs, without what more
and longer logs do. Before anything is measured, MLE and behavioural cloning are trained for a
while, and SequenceMatch goes on from the latter: rollouts of an untrained policy are far longer
than data. Then all make some updates that are not counted: blocks of memory that vary in size find
their places, and until then they meet fresh pages.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.common import machine, options_of, print_table, train_all
from rubout.learner import Alone, Learner
from rubout.noise import inject
from rubout.policies import network
from rubout.process import set_up
from rubout.rollout.sampler import EnvConfig, Request, Sampler
from rubout.tape import Tape, replay
from rubout.training import setup
from rubout.training.config import TrainConfig
from rubout.training.data import Batches
from rubout.types import ActionSpace, Trajectories

SLIPS = {"lr": 0.001, "noise": {"rate": 0.03}}
MATCH: dict[str, Any] = {"bc_updates": 0, "anneal_updates": 0, **SLIPS}
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "mle": ("mle", {"lr": 0.001}),
    "behavioural cloning": ("behavioural_cloning", SLIPS),
    "chi2": ("sequence_match", {"divergence": "chi2", **MATCH}),
    "chi2-mixture": ("sequence_match", MATCH),
}
TURN = 5  # updates of one objective before the next has its turn
WORLDS: dict[str, dict[str, Any]] = {
    "transformer, arithmetic": {
        "task": "arithmetic",
        "policy": "transformer",
        "policy_options": {"layers": 2},
    },
    "LSTM, python-docs": {"task": "python-docs", "policy": "lstm", "policy_options": {}},
}


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        before: updates of MLE and behavioural cloning before anything is measured.
        warm: updates of each objective that are not counted.
        updates: of each objective, measured.
        train: updates of the runs with and without an actor; 0: none.
        device: where.
        policy: options of the transformer, beside the world's own.
    """

    before: int
    warm: int
    updates: int
    train: int
    device: str = "cpu"
    policy: dict[str, Any] = field(default_factory=dict)


SCALES = {
    "smoke": Scale(2, 1, 2, 0),
    "cpu": Scale(150, 40, 40, 300),
    "full": Scale(300, 40, 100, 1000, "cuda", {"layers": 8, "width": 256}),
}


def build(world: dict[str, Any], objective: str, device: torch.device) -> tuple[Learner, Any]:
    """A learner of one objective, and its task."""
    name, options = OBJECTIVES[objective]
    env = EnvConfig(backspace=objective != "mle")
    config = TrainConfig(learner=name, learner_options=options, env=env, **world)
    task = setup.build_task(config)
    return setup.build_learner(config, task, Alone(), device), task


def slipped(learner: Learner, data: Trajectories, update: int) -> Trajectories:
    """The batch as the objective wants it."""
    noise = learner.demand(update).noise
    if not noise.rate:
        return data
    generator = torch.Generator().manual_seed(update)
    chances, which = torch.rand(2, *data.actions_BT.shape, generator=generator)
    space = learner.context.space
    return inject(space, data, noise, chances, (which * space.num_tokens).long())


@contextmanager
def scored() -> Iterator[list[Tensor]]:
    """How many actions each batch of logs has that a policy scores meanwhile."""
    counts: list[Tensor] = []

    def noted(space: ActionSpace, trajectories: Trajectories) -> Tape:
        counts.append(trajectories.num_actions_B.sum())
        return replay(space, trajectories)

    with patch.object(network, "replay", noted):
        yield counts


def measure(world: dict[str, Any], scale: Scale) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each update of each objective, and of one batch of rollouts; tokens scored."""
    device = torch.device(scale.device)
    learners = {name: build(world, name, device) for name in OBJECTIVES}
    seconds: dict[str, list[float]] = {name: [] for name in [*OBJECTIVES, "rollouts"]}
    tokens = dict.fromkeys(OBJECTIVES, 0)
    mixture, task = learners["chi2-mixture"]
    batches = Batches(task.split("train"), 64, 0)
    sampler = Sampler(mixture.policy, device=device)
    for update in range(scale.before):
        for name in ("mle", "behavioural cloning"):
            learner, _ = learners[name]
            learner.update(slipped(learner, batches.batch(update), update).to(device), None)
    trained, _ = learners["behavioural cloning"]
    for name in ("chi2", "chi2-mixture"):
        learners[name][0].policy.load_state_dict(trained.policy.state_dict())
    total = scale.warm + scale.updates
    for first in range(0, total, TURN):
        turn = range(first, min(first + TURN, total))
        rollouts: dict[int, Trajectories] = {}
        for update in turn:
            if mixture.demand(update).rollouts:
                seconds["rollouts"].append(-_now(device))
                request = Request(update, 0, 64, batches.batch(update).prompts)
                rollouts[update] = sampler.sample(request)
                seconds["rollouts"][-1] += _now(device)
        for name, (learner, _) in learners.items():
            for update in turn:
                data = batches.batch(update)
                with scored() as counts:
                    began = _now(device)
                    shown = slipped(learner, data, update).to(device)
                    own = rollouts.get(update) if name == "chi2-mixture" else None
                    learner.update(shown, own)
                    seconds[name].append(_now(device) - began)
                if update >= scale.warm:
                    tokens[name] += int(sum(counts))
    return {name: found[-scale.updates :] for name, found in seconds.items()}, tokens


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def overlapped(world: dict[str, Any], scale: Scale, folder: Path) -> tuple[float, float]:
    """Seconds per update of `rubout train`: MLE, and the mixture with an actor."""
    words = ["--task", world["task"], "--policy", world["policy"]]
    words += options_of("policy.", world["policy_options"])
    words += ["--updates", str(scale.train), "--evaluate-every", str(scale.train)]
    words += ["--evaluate-sequences", "100", "--samples", "0"]
    words += ["--learner.lr", "0.001"]
    match = ["--learner", "sequence_match", "--env.backspace", "--rollout-workers", "1"]
    match += ["--staleness", "8", "--learner.noise.rate", "0.03"]
    match += ["--learner.bc-updates", str(scale.before), "--learner.anneal-updates", "0"]
    runs = {folder / "mle": [*words, "--learner", "mle"], folder / "match": [*words, *match]}
    train_all(runs, jobs=1)
    found = []
    for run in runs:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        after = [line for line in lines if line["update"] > scale.before]
        found.append(mean(line["seconds_per_update"] for line in after if line["kind"] == "train"))
    return found[0], found[1]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    set_up(1)
    results = {}
    has_ray = importlib.util.find_spec("ray") is not None
    for name, world in WORLDS.items():
        if world["policy"] == "transformer" and scale.policy:
            world = world | {"policy_options": scale.policy}
        seconds, tokens = measure(world, scale)
        base = median(seconds["mle"])
        ratios = {
            objective: median(
                [ours / mle for ours, mle in zip(seconds[objective], seconds["mle"], strict=True)]
            )
            for objective in OBJECTIVES
        }
        per_token = {name: ratios[name] * tokens["mle"] / tokens[name] for name in OBJECTIVES}
        rollouts = median(seconds["rollouts"]) / 10 / base
        ratios["chi2-mixture, with rollouts"] = ratios["chi2-mixture"] + rollouts
        if scale.train and has_ray:
            with tempfile.TemporaryDirectory() as folder:
                mle, ours = overlapped(world, scale, Path(folder))
            ratios["chi2-mixture, overlapped"] = ours / mle
        elif scale.train:
            print("left out: overlapped rollouts, since ray is not installed")
        results[name] = {"ratios": ratios, "per_token": per_token, "mle_s": base}
        before = [0.0, *list(ratios.values())[:-1]]
        rows = [
            [
                objective,
                f"{ratio:.2f}",
                f"{1000 * base * ratio:.0f}",
                f"{ratio - last:+.2f}",
                f"{per_token[objective]:.2f}" if objective in per_token else "",
            ]
            for (objective, ratio), last in zip(ratios.items(), before, strict=True)
        ]
        print_table(
            f"{name}: an update over MLE's on the same 64 sequences",
            ["", "ratio", "ms", "added", "per token"],
            rows,
        )
    print(f"\n{machine()}")
    if options.json:
        options.json.write_text(json.dumps({"results": results} | machine(), indent=2))


if __name__ == "__main__":
    main()
