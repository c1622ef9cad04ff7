"""What learners with a discriminator share: the phases, its loss, whose moments are whose."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from learners.adversarial import (
    RoundsConfig,
    discriminator_loss,
    generator_updates_before,
    phase,
)
from learners.mle import MLE, MLEConfig
from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context, Demand
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(7, 5)
CONTEXT = Context(SPACE, 8, torch.device("cpu"), Alone())
PHASES = {"m": "mle", "d": "discriminator", "g": "generator"}


def policy() -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(SPACE, LSTMConfig(hidden=8, embedding=8, init_std=0.5))


def data(seed: int) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 6, (8,), generator=generator).tolist()
    rows = [torch.randint(0, 7, (n,), generator=generator).tolist() for n in lengths]
    return written(SPACE, Sequences.of(rows))


def make(**values: object) -> SeqGAN:
    """The least of those learners."""
    network = DiscriminatorConfig(embedding=4, dropout=0.0)
    options = {"completions": 2, "lr": 0.02, "discriminator": network} | values
    return SeqGAN(policy(), SeqGANConfig(**options), CONTEXT)  # type: ignore[arg-type]


def feed(learner: SeqGAN, update: int) -> dict[str, float]:
    """One update, as the loop makes it."""
    demand = learner.demand(update)
    rollouts = None
    if demand.rollouts:
        judge = learner.reward.eval()
        request = Request(
            update, 0, demand.rollouts, paid=demand.paid, completions=demand.completions
        )
        rollouts = Sampler(learner.policy, judge).sample(request)
    return learner.update(data(update), rollouts)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def moments(learner: SeqGAN, name: str) -> list[Tensor]:
    held = learner.optimizers()[name].state_dict()["state"].values()
    return [value.clone() for state in held for value in state.values()]


SCHEDULES = [
    ({"mle_updates": 3, "discriminator_warmup": 2}, "mmmddgdddddgdddddg"),
    ({"mle_updates": 0, "discriminator_warmup": 0, "discriminator_updates": 0}, "gggg"),
    ({"mle_updates": 0, "discriminator_warmup": 1, "discriminator_updates": 1}, "dgdgdg"),
    (
        {
            "mle_updates": 2,
            "discriminator_warmup": 1,
            "generator_updates": 2,
            "discriminator_updates": 3,
            "mle_per_round": 2,
        },
        "mmdggdddmmggdddmmgg",
    ),
    (
        {"mle_updates": 1, "discriminator_warmup": 0, "discriminator_updates": 0,
         "mle_per_round": 1},
        "mgmgmgm",
    ),
    (
        {"mle_updates": 5, "discriminator_warmup": 3, "pretraining_rounds": 2,
         "discriminator_updates": 1},
        "mmdmmmddgdgdgd",
    ),
    (
        {"mle_updates": 2, "discriminator_warmup": 1, "pretraining_rounds": 3,
         "discriminator_updates": 1},
        "mmdgdgd",
    ),
    (
        {"mle_updates": 0, "discriminator_warmup": 3, "pretraining_rounds": 2,
         "discriminator_updates": 1},
        "dddgdgd",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), SCHEDULES)
def test_the_order_of_updates(values: dict[str, int], expected: str) -> None:
    config = RoundsConfig(**values)  # type: ignore[arg-type]
    assert [phase(config, update) for update in range(len(expected))] == [
        PHASES[letter] for letter in expected
    ]
    done = [generator_updates_before(config, update) for update in range(len(expected) + 1)]
    assert done == [expected[:update].count("g") for update in range(len(expected) + 1)]


def test_the_order_by_default() -> None:
    config = SeqGANConfig()
    letters = "".join(phase(config, update)[0] for update in range(712))
    assert letters == "m" * 500 + "d" * 200 + "gdddddgddddd"


def test_what_each_phase_asks_for() -> None:
    learner = make(mle_updates=1, discriminator_warmup=1, completions=3)
    assert [learner.demand(update) for update in range(4)] == [
        Demand(),
        Demand(rollouts=8, paid=False),
        Demand(rollouts=8, completions=3),
        Demand(rollouts=8, paid=False),
    ]
    assert learner.max_staleness == 0
    assert learner.stands_for_run == "last"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mle_updates": -1}, "learner.mle-updates.*must not be negative"),
        ({"discriminator_warmup": -1}, "learner.discriminator-warmup.*must not be negative"),
        ({"mle_per_round": -1}, "learner.mle-per-round must not be negative"),
        ({"generator_updates": 0}, "learner.generator-updates.*must be at least 1"),
        ({"discriminator_steps": 0}, "learner.discriminator-steps.*must be at least 1"),
        ({"pretraining_rounds": 0}, "learner.pretraining-rounds must be at least 1"),
        ({"discriminator_updates": -1}, "learner.discriminator-updates must not be negative"),
        ({"generator_lr": -0.1}, "learner.generator-lr.*must not be negative"),
        ({"discriminator_lr": -0.1}, "learner.discriminator-lr.*must not be negative"),
        ({"discriminator_l2": -0.1}, "learner.discriminator-l2 must not be negative"),
        ({"clip": -1.0}, "learner.clip must not be negative"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        RoundsConfig(**values)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_the_discriminators_loss_is_the_cross_entropy() -> None:
    real, fake = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([-1.0, 0.5])
    expected = 0.0
    for logit in real.tolist():
        expected -= math.log(1 / (1 + math.exp(-logit)))
    for logit in fake.tolist():
        expected -= math.log(1 - 1 / (1 + math.exp(-logit)))
    found = discriminator_loss(real, fake, torch.tensor(5.0))
    assert float(found) == pytest.approx(expected / 5, rel=1e-6)


def test_a_step_of_the_discriminator() -> None:
    """Its loss, accuracy, and gradient, the penalty being on the output layer alone."""
    learner = make(discriminator_l2=0.3)
    torch.nn.init.normal_(learner.discriminator.out.weight, std=2.0)
    real = survivors(SPACE, data(0))
    fake = survivors(SPACE, Sampler(policy()).sample(Request(0, 0, 8)))
    twin = deepcopy(learner.discriminator)
    logits = twin(Sequences.cat([real, fake]))
    labels = torch.tensor([1.0] * 8 + [0.0] * 8)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    metrics = learner.teach_discriminator(real, fake)
    assert metrics["discriminator/loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = ((logits > 0) == labels.bool()).float().mean().item()
    assert 0 < right < 1
    assert metrics["discriminator/accuracy"] == pytest.approx(right)
    squares = 0.0
    for (name, ours), theirs in zip(
        learner.discriminator.named_parameters(), twin.parameters(), strict=True
    ):
        expected = theirs.grad
        assert expected is not None
        if name.startswith("out."):
            expected = expected + 0.3 * theirs.detach()
        torch.testing.assert_close(ours.grad, expected, rtol=1e-5, atol=1e-6)
        squares += float(expected.square().sum())
    assert metrics["discriminator/gradient_norm"] == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_every_batch_is_gone_through_so_many_times() -> None:
    learner = make(mle_updates=0, discriminator_warmup=1, discriminator_steps=3)
    twin = make(mle_updates=0, discriminator_warmup=1)
    rollouts = Sampler(policy()).sample(Request(0, 0, 8))
    twin.discriminator.load_state_dict(learner.discriminator.state_dict())
    found = learner.update(data(0), rollouts)
    real, fake = survivors(SPACE, data(0)), survivors(SPACE, rollouts)
    steps = [twin.teach_discriminator(real, fake) for _ in range(3)]
    assert found == steps[-1]
    assert len({step["discriminator/loss"] for step in steps}) == 3
    assert same(weights(learner.discriminator), weights(twin.discriminator))
    assert same(weights(learner.policy), weights(policy())), "the generator is left alone"


def test_what_was_rubbed_out_is_not_judged() -> None:
    """The discriminator sees what was left on the tape."""
    space = ActionSpace(7, 5, backspace=True)
    context = Context(space, 1, torch.device("cpu"), Alone())
    config = SeqGANConfig(
        mle_updates=0, discriminator_warmup=1, discriminator=DiscriminatorConfig(dropout=0.0)
    )
    losses = set()
    for actions in ([1, 2, 7], [1, 3, 8, 2, 7], [1, 3, 2, 7]):
        torch.manual_seed(1)
        learner = SeqGAN(LSTMPolicy(space, LSTMConfig(hidden=4)), config, context)
        log = Trajectories(
            torch.tensor([actions]),
            torch.zeros(1, len(actions)),
            torch.tensor([len(actions)]),
            torch.tensor([True]),
            torch.tensor([0]),
        )
        real = written(space, Sequences.of([[4, 4]]))
        losses.add(learner.update(real, log)["discriminator/loss"])
    assert len(losses) == 2


def test_the_first_phase_is_maximum_likelihood_bit_for_bit() -> None:
    ours = make(mle_updates=4, clip=0.5, weight_decay=0.01, lr_warmup=2)
    mle = MLE(policy(), MLEConfig(lr=0.02, clip=0.5, weight_decay=0.01, lr_warmup=2), CONTEXT)
    for update in range(4):
        assert feed(ours, update) == mle.update(data(update), None)
    assert same(weights(ours.policy), weights(mle.policy))


def test_each_phase_has_moments_of_its_own() -> None:
    learner = make(mle_updates=1, discriminator_warmup=1, discriminator_updates=1, mle_per_round=1)
    trains = {"mle": "policy", "generator": "generator", "discriminator": "discriminator"}
    for update in range(8):
        kind = phase(learner.config, update)
        before = {name: moments(learner, name) for name in learner.optimizers()}
        moved = {name: weights(module) for name, module in learner.modules().items()}
        feed(learner, update)
        for name, held in before.items():
            after = moments(learner, name)
            assert (name == trains[kind]) == (len(after) != len(held) or not same(after, held))
        for name, held in moved.items():
            is_taught = (name == "discriminator") == (kind == "discriminator")
            assert is_taught is not same(weights(learner.modules()[name]), held)
    assert learner.state() == {"updates": 8}


def test_rates_reach_the_optimisers() -> None:
    learner = make(lr=0.1, generator_lr=0.2, discriminator_lr=0.3)
    rates = {name: each.param_groups[0]["lr"] for name, each in learner.optimizers().items()}
    assert rates == {"policy": 0.1, "generator": 0.2, "discriminator": 0.3}
