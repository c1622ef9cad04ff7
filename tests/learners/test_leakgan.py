"""LeakGAN as a learner: its contract, its schedule, who is taught when, any split of a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from learners.adversarial import phase
from learners.leakgan import LeakGAN, LeakGANConfig, transitions
from rubout.checks import check_learner
from rubout.cli.train import read_options
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context, Demand
from rubout.options import build_reward
from rubout.policies.leakgan import LeakGANPolicy, LeakGANPolicyConfig
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members, split

SPACE = ActionSpace(5, 6)


def policy(space: ActionSpace = SPACE, dropout: float = 0.25, hidden: int = 6) -> LeakGANPolicy:
    torch.manual_seed(5)
    network = DiscriminatorConfig(embedding=4, dropout=dropout)
    config = LeakGANPolicyConfig(
        embedding=6, hidden=hidden, goal=4, horizon=2, init_std=0.5, discriminator=network
    )
    return LeakGANPolicy(space, config)


def make(
    group=None, space: ActionSpace = SPACE, size: int = 8, dropout: float = 0.0, **options
) -> LeakGAN:
    context = Context(space, size, torch.device("cpu"), group or Alone())
    return LeakGAN(policy(space, dropout), LeakGANConfig(**options), context)


def data(seed: int, count: int = 8, space: ActionSpace = SPACE) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, space.max_length + 1, (count,), generator=generator).tolist()
    rows = [torch.randint(0, 5, (n,), generator=generator).tolist() for n in lengths]
    return written(space, Sequences.of(rows))


def typed(learner: LeakGAN, demand: Demand, seed: int = 0) -> Trajectories:
    """What the learner's own policy types and its own discriminator pays."""
    judge = learner.judge()
    assert judge is not None
    reward = build_reward(judge.name, judge.options, learner.context.space, None)
    reward.load_state_dict(learner.published()["reward"].state_dict())
    request = Request(seed, 0, demand.rollouts, paid=demand.paid)
    request = replace(request, completions=demand.completions, every=demand.every)
    return Sampler(learner.policy, reward.eval()).sample(request)


@pytest.mark.parametrize("backspace", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        LeakGANConfig(mle_updates=1, discriminator_warmup=1, pretraining_rounds=1),
        # Twice each, so that every Adam's moments matter.
        LeakGANConfig(mle_updates=2, discriminator_warmup=0, generator_updates=2, rescale="none"),
    ],
)
def test_the_contract(config: LeakGANConfig, backspace: bool) -> None:
    check_learner("leakgan", policy, config, replace(SPACE, backspace=backspace))


def test_another_policy_is_refused() -> None:
    context = Context(SPACE, 8, torch.device("cpu"), Alone())
    other = LSTMPolicy(SPACE, LSTMConfig(hidden=4, embedding=4))
    with pytest.raises(ValueError, match=r"^learner leakgan needs --policy leakgan$"):
        LeakGAN(other, LeakGANConfig(), context)


def test_the_learner_brings_its_policy_unless_another_is_named() -> None:
    def named(*words: str) -> str:
        return read_options(["--out", "nowhere", "--task", "oracle", *words])[1].policy

    assert named("--learner", "leakgan") == "leakgan"
    assert named("--learner=leakgan", "--policy.goal", "3") == "leakgan"
    assert named("--learner", "leakgan", "--policy", "lstm") == "lstm"
    assert named("--learner", "mle") == named() == "lstm"
    assert named("--learner", "mle", "--policy", "leakgan") == "leakgan"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"completions": 0}, "learner.completions"),
        ({"delta": -1.0}, "learner.delta"),
        ({"discriminator_share": 2.0}, "learner.discriminator-share"),
        ({"pretraining_rounds": 0}, "learner.pretraining-rounds"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeakGANConfig(**options)


def test_demand_follows_the_schedule() -> None:
    learner = make(
        mle_updates=4,
        discriminator_warmup=2,
        pretraining_rounds=2,
        generator_updates=2,
        discriminator_updates=1,
        completions=3,
    )
    fakes, generator = Demand(8, paid=False), Demand(8, completions=3, every=2)
    turn, around = [Demand(), Demand(), fakes], [generator, generator, fakes, Demand()]
    assert [learner.demand(update) for update in range(14)] == 2 * turn + 2 * around


@pytest.mark.parametrize("turns", [1, 2, 3, 7, 50])
def test_turns_of_pretraining_are_even_and_none_is_lost(turns: int) -> None:
    config = LeakGANConfig(mle_updates=17, discriminator_warmup=9, pretraining_rounds=turns)
    kinds = [phase(config, update) for update in range(26)]
    assert kinds.count("mle") == 17
    assert kinds.count("discriminator") == 9
    assert phase(config, 26) == "generator"
    if turns == 1:
        assert kinds == ["mle"] * 17 + ["discriminator"] * 9
    shares = {2: ([8, 9], [4, 5]), 7: ([2, 2, 3, 2, 3, 2, 3], [1, 1, 1, 2, 1, 1, 2])}
    if turns in shares:
        expected = []
        for likelihood, warmup in zip(*shares[turns], strict=True):
            expected += ["mle"] * likelihood + ["discriminator"] * warmup
        assert kinds == expected


def moved(learner: LeakGAN, update) -> set[str]:
    """Which of worker, manager and discriminator an update changes."""
    whole = learner.policy.parts() | {"discriminator": list(learner.discriminator.parameters())}
    before = {name: [p.detach().clone() for p in held] for name, held in whole.items()}
    update()
    pairs = {name: zip(whole[name], before[name], strict=True) for name in whole}
    return {name for name, pair in pairs.items() if not all(torch.equal(a, b) for a, b in pair)}


def test_each_update_teaches_its_own() -> None:
    learner = make(mle_updates=1, discriminator_warmup=1, pretraining_rounds=1, weight_decay=0.1)
    assert learner.discriminator is learner.policy.discriminator is learner.reward.network
    assert moved(learner, lambda: learner.update(data(0), None)) == {"worker", "manager"}
    assert not learner.optimizer.state  # that of the whole policy
    fakes = typed(learner, learner.demand(1))
    assert moved(learner, lambda: learner.update(data(1), fakes)) == {"discriminator"}
    rollouts = typed(learner, learner.demand(2))
    assert moved(learner, lambda: learner.update(data(2), rollouts)) == {"worker", "manager"}
    # The discriminator's last gradients are still there, and nobody takes them for the policy's.
    assert any(p.grad is not None for p in learner.discriminator.parameters())
    assert moved(learner, lambda: learner.teach_by_likelihood(data(3))) == {"worker", "manager"}


def test_what_is_leaked_changes_with_the_discriminator() -> None:
    learner = make(discriminator_lr=0.01)
    before = learner.policy.hierarchy(data(0)).features_BSF
    learner.teach_discriminator(*(Sequences.of([[1, 2]]), Sequences.of([[3]])))
    after = learner.policy.hierarchy(data(0)).features_BSF
    assert not torch.allclose(before, after)
    expected = learner.discriminator.eval().features(
        Sequences.of(data(0).actions_BT[:1, :1].tolist())
    )
    torch.testing.assert_close(after[:1, 1], expected.detach(), rtol=1e-5, atol=1e-6)


def gradients(learner: LeakGAN) -> dict[str, list[Tensor | None]]:
    return {name: [p.grad for p in held] for name, held in learner.policy.parts().items()}


@pytest.mark.parametrize("rescale", ["rank", "none"])
def test_any_split_of_a_batch_gives_the_same_gradients(rescale: str) -> None:
    whole = make(rescale=rescale, clip=0.0)
    batch, rollouts = data(0), typed(whole, whole.generator_demand())
    values = (rollouts.action_values_BT * 20).round() / 20  # some are equal, also across the parts
    rollouts = replace(rollouts, action_values_BT=values)
    parts = [make(member, rescale=rescale, clip=0.0) for member in members(2)]
    given = list(zip(split(batch, 2), split(rollouts, 2), strict=True))

    def teach(index: int) -> tuple[dict[str, float], dict[str, float]]:
        mine, fakes = given[index]
        return parts[index].teach_by_likelihood(mine), parts[index].teach_generator(mine, fakes)

    alone = whole.teach_by_likelihood(batch), whole.teach_generator(batch, rollouts)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(teach, range(2)))
    for metrics in together:
        for ours, theirs in zip(alone, metrics, strict=True):
            assert theirs == pytest.approx(ours, rel=1e-5, abs=1e-6)
    for part in parts:
        torch.testing.assert_close(gradients(part), gradients(whole), rtol=1e-5, atol=1e-6)


def test_the_manager_learns_where_real_text_goes() -> None:
    """As far as can be told from what stands on the tape: at the start it is the same for all."""
    space = ActionSpace(5, 6, eos=False)
    rows = [[0, 1, 2, 3, 4, 0], [4, 3, 2, 1, 0, 4], [2, 2, 0, 0, 1, 1], [3, 1, 3, 1, 3, 1]]
    batch = written(space, Sequences.of(rows))
    context = Context(space, 4, torch.device("cpu"), Alone())
    # The sub-goals of a narrow manager lie in few dimensions, and there are 17 ways to go.
    learner = LeakGAN(policy(space, hidden=48), LeakGANConfig(lr=0.03), context)
    features_BSF = learner.policy.hierarchy(batch).features_BSF
    from_start = torch.nn.functional.normalize(features_BSF[:, 2] - features_BSF[:, 0], dim=1)
    best = (float(from_start.sum(0).norm()) + 4 * 4) / (4 * 5)
    seen = [learner.teach_by_likelihood(batch)["manager/cosine"] for _ in range(150)]
    assert seen[0] < best - 0.5
    assert best - 0.02 < seen[-1] < best + 1e-5


def test_the_generator_follows_the_manager() -> None:
    """Against a discriminator that stands still the intrinsic reward rises."""
    space = ActionSpace(5, 6, eos=False)
    learner = make(space=space, size=16, generator_lr=0.02)
    seen = []
    for update in range(25):
        rollouts = typed(learner, learner.generator_demand(), seed=update)
        seen.append(learner.teach_generator(rollouts, rollouts)["generator/intrinsic"])
    assert sum(seen[-5:]) / 5 > sum(seen[:5]) / 5 + 0.1


def test_a_manager_without_a_transition_is_not_taught() -> None:
    space = ActionSpace(5, 1, eos=False)  # shorter than the horizon
    learner = make(space=space)
    batch = written(space, Sequences.of([[row % 5] for row in range(8)]))
    metrics = learner.teach_by_likelihood(batch)
    assert metrics["manager/gradient_norm"] == metrics["manager/cosine"] == 0
    found = learner.policy.hierarchy(batch)
    _, there_BT = transitions(found.features_BSF, found.subgoals_BTF, batch.num_actions_B, 2)
    assert not there_BT.any()
