"""MaliGAN: its contract, its schedule, what it refuses, and any split of a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch

from learners.adversarial import AdversarialConfig, generator_updates_before, phase
from learners.maligan import MaliGAN, MaliGANConfig, baseline, prefix_length
from rubout.checks import check_learner
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context, Demand, Group
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members, split

SPACE = ActionSpace(5, 4)
FULL = ActionSpace(5, 4, eos=False)
RUBOUT = ActionSpace(5, 4, backspace=True)
# Maximum likelihood, the discriminator, and then the generator twice, or it and both others.
QUICK: dict[str, Any] = {
    "mle_updates": 1,
    "discriminator_warmup": 1,
    "generator_updates": 2,
    "discriminator_updates": 1,
    "baseline_updates": 2,
    "discriminator": DiscriminatorConfig(embedding=4, dropout=0.0),
    "discriminator_lr": 0.01,
}


def quick(**values: Any) -> MaliGANConfig:
    return MaliGANConfig(**QUICK | values)


def policy(space: ActionSpace = SPACE) -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(hidden=8, embedding=8, init_std=0.5))


def make(config: MaliGANConfig, space: ActionSpace = SPACE, group: Group | None = None) -> MaliGAN:
    model = policy(space)
    return MaliGAN(model, config, Context(space, 8, torch.device("cpu"), group or Alone()))


def exact(learner: MaliGAN) -> MaliGAN:
    """In float64: Adam makes whole steps of what rounding leaves of a gradient that vanishes."""
    for module in learner.modules().values():
        module.double()
    return learner


def batch(seed: int, space: ActionSpace = SPACE) -> Trajectories:
    """Sentences of all lengths, the empty one included, where there is an `<eos>`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 5, (8,), generator=generator).tolist() if space.eos else [4] * 8
    rows = [torch.randint(0, 5, (n,), generator=generator).tolist() for n in lengths]
    return written(space, Sequences.of(rows))


def asked(learner: MaliGAN, update: int, data: Trajectories) -> Trajectories | None:
    """What the learner asks for, begun as the data where it asks for that."""
    demand = learner.demand(update)
    if not demand.rollouts:
        return None
    starts = None
    if demand.prefix:
        lengths = (data.num_actions_B - 1).clamp(max=demand.prefix)
        starts = Sequences(data.actions_BT[:, : int(lengths.max())], lengths)
        starts = replace(starts, tokens_BL=starts.tokens_BL.masked_fill(~starts.mask_BL, 0))
        starts = starts[torch.arange(8).repeat_interleave(demand.rollouts // 8)]
    return Sampler(deepcopy(learner.policy).float()).sample(
        Request(update, 0, demand.rollouts, prefixes=starts)
    )


CONFIGS: list[tuple[dict[str, Any], ActionSpace]] = [
    ({}, SPACE),
    ({"weights": "probability", "baseline_updates": 0, "clip": 0.05}, SPACE),
    ({"prefix_start": 9, "prefix_step": 7, "prefix_updates": 1, "continuations": 3}, SPACE),
    ({"prefix_start": 1, "prefix_updates": 1, "mle_per_round": 1, "continuations": 2}, SPACE),
    ({}, FULL),
    ({"prefix_start": 3, "prefix_updates": 1, "baseline": 0.5}, FULL),
    ({}, RUBOUT),
    ({"prefix_start": 2, "prefix_updates": 1}, RUBOUT),
]


@pytest.mark.parametrize(("values", "space"), CONFIGS)
def test_the_contract(values: dict[str, Any], space: ActionSpace) -> None:
    check_learner(MaliGAN, policy, quick(**values), space)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("values", "space"), CONFIGS)
def test_a_group_is_one_learner_on_the_joined_batch(
    values: dict[str, Any], space: ActionSpace, size: int
) -> None:
    alone = exact(make(quick(**values), space))
    group = [exact(make(quick(**values), space, member)) for member in members(size)]
    for update in range(6):
        data = batch(update, space)
        rollouts = asked(alone, update, data)
        expected = alone.update(data, rollouts)
        parts = zip(group, split(data, size), split(rollouts, size), strict=True)
        with ThreadPoolExecutor(size) as pool:
            ends = [pool.submit(learner.update, *part) for learner, *part in parts]
        for end in ends:
            assert end.result() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for learner in group:
        for name, module in alone.modules().items():
            others = learner.modules()[name].parameters()
            for ours, theirs in zip(module.parameters(), others, strict=True):
                assert float((theirs - ours).detach().norm()) <= 1e-9 * float(ours.detach().norm())


def test_demand() -> None:
    """One sample for a real sequence, or n, begun with N of its actions, fewer and fewer."""
    plain = make(quick())
    assert {plain.demand(update) for update in range(2, 9)} == {Demand(8, paid=False)}
    mixed = make(quick(prefix_start=5, prefix_step=2, prefix_updates=3, continuations=4))
    found = [mixed.demand(update) for update in range(17)]
    assert [demand.rollouts for demand in found] == [0, 8] + [32, 32, 8] * 5
    # Generator updates 0-2, 3-5, 6-8 and from 9 on; the discriminator reads whole samples.
    assert [demand.prefix for demand in found if demand.rollouts == 32] == [5] * 3 + [3] * 3 + [
        1
    ] * 3 + [0]
    assert not any(demand.prefix for demand in found if demand.rollouts == 8)
    assert not any(demand.paid or demand.completions for demand in found[1:])
    assert MaliGAN.max_staleness == 0
    assert mixed.judge() is None


def test_what_is_reported_follows_the_schedule() -> None:
    learner = make(quick(prefix_start=2, prefix_updates=2, baseline=0.8, baseline_updates=4))
    found = []
    for update in range(11):
        data = batch(update)
        metrics = learner.update(data, asked(learner, update, data))
        if "generator/prefix" in metrics:
            found.append((metrics["generator/prefix"], metrics["weights/baseline"]))
            assert 1 / 64 <= metrics["weights/ess"] <= 1 + 1e-6
            assert metrics["generator/entropy"] > 0
            assert (metrics["generator/nll_prefix"] > 0) == (metrics["generator/prefix"] > 0)
    expected = [(2, 0.0), (2, 0.2), (1, 0.4), (1, 0.6), (0, 0.8), (0, 0.8)]
    assert [number for pair in found for number in pair] == pytest.approx(
        [number for pair in expected for number in pair]
    )


def test_samples_are_weighed_without_dropout() -> None:
    network = DiscriminatorConfig(embedding=4, dropout=0.9)
    learner = make(quick(mle_updates=0, discriminator=network))
    for update in range(2):
        judged = deepcopy(learner.discriminator).eval()
        rollouts = asked(learner, update, batch(update))
        assert rollouts is not None
        metrics = learner.update(batch(update), rollouts)
    expected = judged(survivors(SPACE, rollouts)).exp().mean().item()
    assert metrics["weights/mean"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mle_per_round", [0, 2])
def test_generator_updates_are_counted(mle_per_round: int) -> None:
    config = AdversarialConfig(
        mle_updates=3,
        discriminator_warmup=2,
        generator_updates=2,
        discriminator_updates=3,
        mle_per_round=mle_per_round,
    )
    count = 0
    for update in range(40):
        assert generator_updates_before(config, update) == count
        count += phase(config, update) == "generator"
    assert count >= 10


def test_schedules() -> None:
    config = MaliGANConfig(prefix_start=5, prefix_step=2, prefix_updates=2)
    assert [prefix_length(config, number) for number in range(9)] == [5, 5, 3, 3, 1, 1, 0, 0, 0]
    assert [prefix_length(MaliGANConfig(), number) for number in (0, 9)] == [0, 0]
    config = MaliGANConfig(baseline=0.5, baseline_updates=4)
    assert [baseline(config, number) for number in range(6)] == [0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert baseline(MaliGANConfig(baseline_updates=0), 0) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"baseline": 1.5}, "learner.baseline must be between 0 and 1, not 1.5"),
        ({"baseline_updates": -1}, "must not be negative"),
        ({"prefix_start": -1}, "must not be negative"),
        ({"prefix_step": 0}, "must be at least 1"),
        ({"prefix_updates": 0}, "must be at least 1"),
        ({"continuations": 1}, "learner.continuations must be at least 2"),
        ({"generator_lr": -1.0}, "must not be negative"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        MaliGANConfig(**values)
    assert "\n" not in str(found.value)
