"""RankGAN: its contract and its judge's, when it takes new references, any split of a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch

from learners.rankgan import RankGAN, RankGANConfig
from rubout.checks import check_learner, check_reward
from rubout.checks.common import same
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context, Demand, Group
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.ranker import Ranker, RankerConfig
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members, split

SPACE = ActionSpace(5, 4)
FULL = ActionSpace(5, 4, eos=False)
RUBOUT = ActionSpace(5, 4, backspace=True)
RANKER = RankerConfig(embedding=4, hidden=4, dropout=0.0, references=3, comparisons=4, gamma=2.0)
# The discriminator, the generator twice, the discriminator.
QUICK: dict[str, Any] = {
    "mle_updates": 0,
    "discriminator_warmup": 1,
    "generator_updates": 2,
    "discriminator_updates": 1,
    "completions": 2,
    "discriminator": RANKER,
    "discriminator_lr": 0.01,
}


def quick(**values: Any) -> RankGANConfig:
    return RankGANConfig(**QUICK | values)


def policy(space: ActionSpace = SPACE) -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(hidden=8, embedding=8, init_std=0.5))


def make(config: RankGANConfig, space: ActionSpace = SPACE, group: Group | None = None) -> RankGAN:
    model = policy(space)
    return RankGAN(model, config, Context(space, 8, torch.device("cpu"), group or Alone()))


def exact(learner: RankGAN) -> RankGAN:
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


def asked(learner: RankGAN, update: int) -> Trajectories | None:
    """What the learner asks for, judged by a copy of its ranker."""
    demand = learner.demand(update)
    if not demand.rollouts:
        return None
    judge = Ranker(learner.context.space, learner.config.discriminator).eval()
    judge.load_state_dict(learner.published()["reward"].state_dict())
    request = Request(update, 0, demand.rollouts, paid=demand.paid, completions=demand.completions)
    return Sampler(deepcopy(learner.policy).float(), judge, judge=judge).sample(request)


CONFIGS: list[tuple[dict[str, Any], ActionSpace]] = [
    ({}, SPACE),
    ({"baseline": "batch", "mle_updates": 1, "discriminator_warmup": 0}, FULL),
    ({"mle_per_round": 1, "generator_updates": 1}, RUBOUT),
    ({"discriminator": RankerConfig(kind="lstm", hidden=4, references=1, comparisons=1)}, SPACE),
]


@pytest.mark.parametrize(("values", "space"), CONFIGS)
def test_the_contract(values: dict[str, Any], space: ActionSpace) -> None:
    check_learner(RankGAN, policy, quick(**values), space)


@pytest.mark.parametrize("kind", ["cnn", "lstm", "transformer"])
@pytest.mark.parametrize("space", [SPACE, FULL, RUBOUT])
def test_the_rankers_contract(kind: Any, space: ActionSpace) -> None:
    """Before it was given anything to compare with, and after."""
    torch.manual_seed(0)
    config = RankerConfig(kind=kind, embedding=4, hidden=4, references=3, comparisons=4)
    ranker = Ranker(space, config).eval()
    check_reward(ranker, space)
    real = survivors(space, batch(0, space))
    ranker.compare_with(real[:3], real[3:7])
    check_reward(ranker, space)
    ranks = ranker(batch(1, space))
    assert ((ranks > 0) & (ranks < 1)).all()
    assert ranks.unique().numel() > 1


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("values", "space"), CONFIGS[:3])
def test_a_group_is_one_learner_on_the_joined_batch(
    values: dict[str, Any], space: ActionSpace, size: int
) -> None:
    alone = exact(make(quick(**values), space))
    group = [exact(make(quick(**values), space, member)) for member in members(size)]
    for update in range(5):
        data, rollouts = batch(update, space), asked(alone, update)
        if rollouts is not None and rollouts.action_values_BT is not None:
            rollouts = replace(rollouts, action_values_BT=rollouts.action_values_BT.double())
        expected = alone.update(data, rollouts)
        parts = zip(group, split(data, size), split(rollouts, size), strict=True)
        with ThreadPoolExecutor(size) as pool:
            ends = [pool.submit(learner.update, *part) for learner, *part in parts]
        for end in ends:
            assert end.result() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        for learner in group:
            assert same(held(learner), held(alone)), "all ranks compare with the same sequences"
    for learner in group:
        for name, module in alone.modules().items():
            others = learner.modules()[name].parameters()
            for ours, theirs in zip(module.parameters(), others, strict=True):
                assert float((theirs - ours).detach().norm()) <= 1e-9 * float(ours.detach().norm())


def held(learner: RankGAN) -> list[list[list[int]]]:
    return [learner.ranker.references.lists(), learner.ranker.comparisons.lists()]


def test_it_compares_with_the_batch_before_each_update_of_the_generator() -> None:
    learner = make(quick(mle_updates=1))
    kinds = ["mle", "discriminator", "generator", "generator", "discriminator", "generator"]
    before = held(learner)
    for update, kind in enumerate(kinds):
        if kind == "generator":
            rows = survivors(SPACE, batch(update - 1)).lists()
            assert held(learner) == [rows[:3], rows[3:7]]
        else:
            assert held(learner) == before
        before = held(learner)
        rollouts = asked(learner, update)
        if kind == "generator":
            assert rollouts is not None
            assert rollouts.action_values_BT is not None
            last = rollouts.num_actions_B.unsqueeze(1) - 1
            paid = rollouts.action_values_BT.gather(1, last).squeeze(1)
            torch.testing.assert_close(paid, learner.ranker.eval()(rollouts), rtol=1e-5, atol=0)
        learner.update(batch(update), rollouts)


def test_only_the_rows_that_are_no_references_are_ranked_as_real() -> None:
    learner = make(quick())
    real, fake = survivors(SPACE, batch(0)), survivors(SPACE, batch(1))
    seen: list[int] = []
    features = learner.ranker.features

    def counted(sequences: Sequences) -> torch.Tensor:
        seen.append(len(sequences))
        return features(sequences)

    learner.ranker.features = counted  # type: ignore[method-assign]
    learner.teach_discriminator(real, fake)
    assert seen == [3 + 4 + 4 + 5 + 8]


def test_the_ranker_learns_to_tell_real_from_fake() -> None:
    learner = make(quick())
    real, fake = survivors(SPACE, batch(0)), survivors(SPACE, batch(1))
    found = [learner.teach_discriminator(real, fake) for _ in range(40)]
    assert found[-1]["discriminator/loss"] < 0.7 * found[0]["discriminator/loss"]
    assert found[-1]["discriminator/rank_real"] > 2 * found[-1]["discriminator/rank_fake"]


def test_demand_and_judge() -> None:
    learner = make(quick(mle_updates=1, discriminator_share=0.7))
    found = [learner.demand(update) for update in range(5)]
    typed, judged = Demand(8, paid=False), Demand(8, completions=2)
    assert found == [Demand(), typed, judged, judged, typed]
    judge = learner.judge()
    assert judge is not None
    assert judge.name == "rubout.ranker:Ranker"
    assert judge.share == 0.7
    assert judge.options["gamma"] == 2.0
    assert [*learner.published()] == ["policy", "reward"]


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (RankerConfig, {"gamma": 0.0}, "gamma must be positive"),
        (RankerConfig, {"references": 0}, "at least one reference"),
        (RankerConfig, {"comparisons": 0}, "one comparison"),
        (RankerConfig, {"dropout": 1.0}, "a dropout in"),
        (RankGANConfig, {"discriminator_l2": 0.1}, "discriminator-l2 must be 0"),
        (RankGANConfig, {"mle_updates": 0, "discriminator_warmup": 0}, "must be at least 1: "),
        (RankGANConfig, {"completions": 0}, "learner.completions must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        cls(**values)
    assert "\n" not in str(found.value)


def test_a_batch_must_hold_references_and_comparisons() -> None:
    make(quick(discriminator=RankerConfig(references=4, comparisons=4)))
    with pytest.raises(ValueError, match="at most --batch-size 8, not 9"):
        make(quick(discriminator=RankerConfig(references=5, comparisons=4)))


def test_its_network_is_as_seqgans() -> None:
    learner = make(RankGANConfig(discriminator=RankerConfig(references=2, comparisons=2)))
    assert isinstance(learner.config.discriminator, DiscriminatorConfig)
    assert learner.discriminator is learner.ranker.network
    assert learner.modules()["discriminator"] is learner.ranker
