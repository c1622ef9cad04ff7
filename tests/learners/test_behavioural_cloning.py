"""Behavioural cloning: likelihood of what was meant, and a backspace learned from slips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from learners.behavioural_cloning import (
    DEFAULT_RATE,
    BehaviouralCloning,
    BehaviouralCloningConfig,
    NoiseConfig,
)
from learners.mle import MLE, MLEConfig
from rubout.checks import check_learner
from rubout.learner import Alone, Context, Demand
from rubout.noise import Noise, inject
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(5, 4, backspace=True)


def policy(space: ActionSpace = SPACE, hidden: int = 8) -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(hidden=hidden, embedding=8, init_std=0.5))


def make(
    config: BehaviouralCloningConfig, space: ActionSpace = SPACE, hidden: int = 8
) -> BehaviouralCloning:
    context = Context(space, 8, torch.device("cpu"), Alone())
    return BehaviouralCloning(policy(space, hidden), config, context)


def expert(seed: int, count: int = 8) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 5, (count,), generator=generator).tolist()
    rows = [torch.randint(0, 5, (n,), generator=generator).tolist() for n in lengths]
    return written(SPACE, Sequences.of(rows))


def slipped(data: Trajectories, noise: Noise, seed: int = 0) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    chances, which = torch.rand(2, *data.actions_BT.shape, generator=generator)
    return inject(SPACE, data, noise, chances, (which * SPACE.num_tokens).long())


@pytest.mark.parametrize("blame", ["environment", "expert"])
@pytest.mark.parametrize("rate", [None, 0.0, 0.5])
def test_the_contract(rate: float | None, blame: str) -> None:
    config = BehaviouralCloningConfig(noise=NoiseConfig(rate, blame=blame))  # type: ignore[arg-type]
    check_learner(BehaviouralCloning, policy, config, SPACE)


@pytest.mark.parametrize("blame", ["environment", "expert"])
def test_the_loss_is_that_of_what_was_meant(blame: str) -> None:
    data = slipped(expert(1), Noise(0.5, blame=blame))  # type: ignore[arg-type]
    assert (data.intended_BT is not None) == (blame == "environment")
    learner = make(BehaviouralCloningConfig())
    rows = learner.policy.score(data, {"log_softmax"}).log_softmax_BTA
    assert rows is not None
    total, count, slips = 0.0, 0, 0
    for row, actions in enumerate(data.actions_BT.tolist()):
        for step in range(int(data.num_actions_B[row])):
            label = actions[step]
            is_slip = actions[step + 1 : step + 2] == [SPACE.backspace_id]
            if is_slip and blame == "environment":
                label = actions[step + 2]  # what was typed once it was rubbed out
            slips += is_slip
            total -= float(rows[row, step, label].detach())
            count += 1
    assert slips > 3
    assert learner.update(data, None)["loss"] == pytest.approx(total / count, rel=1e-5)


def test_whose_slip_it_was_matters() -> None:
    data = expert(1)
    losses = {
        blame: make(BehaviouralCloningConfig()).update(
            slipped(data, Noise(0.5, blame=blame)),  # type: ignore[arg-type]
            None,
        )["loss"]
        for blame in ("environment", "expert")
    }
    assert abs(losses["environment"] - losses["expert"]) > 1e-3


def test_without_a_slip_it_is_maximum_likelihood_bit_for_bit() -> None:
    cloning = make(BehaviouralCloningConfig(lr=0.01))
    mle = MLE(policy(), MLEConfig(lr=0.01), cloning.context)
    for update in range(4):
        assert cloning.update(expert(update), None) == mle.update(expert(update), None)
    for a, b in zip(cloning.policy.parameters(), mle.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_how_often_to_rub_out() -> None:
    """After u, rate / (rate + V P(u)) of the time: `rubout.noise`."""
    space, rate = ActionSpace(4, 1, backspace=True, max_actions=6), 0.2
    p_data = [0.6, 0.3, 0.1, 0.0]
    config = BehaviouralCloningConfig(lr=0.02, noise=NoiseConfig(rate))
    learner = make(config, space, hidden=12)
    generator = torch.Generator().manual_seed(3)
    for update in range(200):
        if update == 150:
            learner.optimizer.param_groups[0]["lr"] = 0.002
        first = torch.multinomial(torch.tensor(p_data), 1500, True, generator=generator)
        data = written(space, Sequences(first.unsqueeze(1), torch.ones_like(first)))
        chances, which = torch.rand(2, *data.actions_BT.shape, generator=generator)
        chances[:, 1] = 1.0  # the text itself, not <eos>
        learner.update(
            inject(space, data, config.noise.of(True), chances, (which * 4).long()), None
        )
    logs = written(space, Sequences.of([[0], [1], [2], [3]]))
    with torch.no_grad():
        found = learner.policy.score(logs, {"log_softmax"}).log_softmax_BTA
    assert found is not None
    rubbed = found[:, 1, space.backspace_id].exp().tolist()
    assert rubbed == pytest.approx([rate / (rate + 4 * p) for p in p_data], abs=0.03)
    typed = found[0, 0, :4].exp().tolist()
    assert typed == pytest.approx(p_data, abs=0.03), "no slip of the env is learned"


def test_demand_is_data_with_slips() -> None:
    learner = make(BehaviouralCloningConfig())
    assert not learner.uses_rollouts
    assert learner.stands_for_run == "best"
    assert {learner.demand(update) for update in (0, 7)} == {Demand(noise=Noise(DEFAULT_RATE))}
    other = make(BehaviouralCloningConfig(noise=NoiseConfig(0.25, "plausible", "expert")))
    assert other.demand(3) == Demand(noise=Noise(0.25, "plausible", "expert"))


def test_it_needs_a_backspace() -> None:
    with pytest.raises(ValueError, match=r"behavioural_cloning needs --env.backspace"):
        make(BehaviouralCloningConfig(), replace(SPACE, backspace=False))


@pytest.mark.parametrize("rate", [-0.1, 1.1, 2.0])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"learner.noise.rate .*between 0 and 1, not {rate}"):
        NoiseConfig(rate)


def test_what_noise_is_demanded() -> None:
    assert NoiseConfig().of(backspace=True).rate == DEFAULT_RATE
    assert NoiseConfig().of(backspace=False).rate == 0
    assert NoiseConfig(0.0).of(backspace=True).rate == 0
    assert NoiseConfig(0.0).of(backspace=False).rate == 0
    assert NoiseConfig(1.0).of(backspace=True).rate == 1
    with pytest.raises(ValueError, match=r"learner.noise.rate needs --env.backspace"):
        NoiseConfig(0.1).of(backspace=False)
