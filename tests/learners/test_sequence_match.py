"""SequenceMatch: its loss by loops, its schedule, what it refuses, and any split of a batch."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from learners.behavioural_cloning import DEFAULT_RATE, NoiseConfig
from learners.divergences import DIVERGENCES
from learners.sequence_match import SequenceMatch, SequenceMatchConfig, implied_rewards, penalties
from rubout.checks import check_learner
from rubout.checks.common import same
from rubout.divergence import Divergence
from rubout.errors import UserError
from rubout.learner import Alone, Context, Demand, Group
from rubout.noise import Noise, inject
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members, split

SPACE = ActionSpace(5, 4, backspace=True, max_actions=9)
PLAIN = ActionSpace(5, 4)
FULL = ActionSpace(5, 4, eos=False, backspace=True)
# Everything at work within the first updates, and every term large enough to be seen.
QUICK: dict[str, Any] = {
    "lr": 0.01,
    "alpha": 0.5,
    "gamma": 0.9,
    "bc_updates": 1,
    "anneal_updates": 1,
    "sample_every": 2,
    "capacity": 2,
    "stride": 2,
}


def quick(**values: Any) -> SequenceMatchConfig:
    values = {"noise": NoiseConfig(0.4)} | values
    if values.get("divergence") == "forward-kl":
        values = {"terminal": "eos"} | values
    return SequenceMatchConfig(**QUICK | values)


def policy(space: ActionSpace = SPACE) -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(hidden=8, embedding=8, init_std=0.5))


def make(
    config: SequenceMatchConfig, space: ActionSpace = SPACE, group: Group | None = None
) -> SequenceMatch:
    context = Context(space, 8, torch.device("cpu"), group or Alone())
    return SequenceMatch(policy(space), config, context)


def expert(seed: int, space: ActionSpace = SPACE, rate: float = 0.4) -> Trajectories:
    """Texts of all lengths, with slips where they can be taken back."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 5, (8,), generator=generator).tolist()
    lengths = lengths if space.eos else [space.max_length] * 8
    rows = [torch.randint(0, 5, (n,), generator=generator).tolist() for n in lengths]
    data = written(space, Sequences.of(rows))
    if not space.backspace:
        return data
    chances, which = torch.rand(2, *data.actions_BT.shape, generator=generator)
    return inject(space, data, Noise(rate), chances, (which * 5).long())


def typed(learner: SequenceMatch, update: int) -> Trajectories | None:
    """What the learner asks for."""
    count = learner.demand(update).rollouts
    return (
        Sampler(policy(learner.context.space)).sample(Request(update, 0, count)) if count else None
    )


def literal_log(
    learner: SequenceMatch, logs: Trajectories, row: int, shift: float
) -> tuple[float, float, float]:
    """Of one log: sum_t w_t, sum_t w_t log pi, and its penalty."""
    config, divergence = learner.config, learner.divergence

    def g(reward: float) -> float:
        return float(divergence(torch.tensor(reward, dtype=torch.float64)))

    scores = learner.policy.score(logs[row : row + 1], {"log_probs", "values"})
    assert scores.log_probs_BT is not None
    assert scores.values_BS is not None
    count, done = int(logs.num_actions_B[row]), bool(logs.terminated_B[row])
    log_probs = scores.log_probs_BT[0, :count].tolist()
    values = [value + shift for value in scores.values_BS[0, : count + 1].tolist()]
    if done and config.terminal == "zero":
        values[-1] = 0.0
    weights = likelihood = penalty = 0.0
    for step in range(count):
        weight = config.gamma**step
        reward = log_probs[step] + values[step] - config.gamma * values[step + 1]
        weights += weight
        likelihood += weight * log_probs[step]
        if logs.labels_BT[row, step] == logs.actions_BT[row, step]:
            penalty += weight * g(config.alpha * reward) / config.alpha
    if done and config.terminal == "eos":
        tail = (1 - config.gamma) * values[-1]  # at every step of the absorbing state
        for step in range(count, count + 400):
            penalty += config.gamma**step * g(config.alpha * tail) / config.alpha
    return weights, likelihood, penalty


def literal_loss(
    learner: SequenceMatch, data: Trajectories, replayed: Trajectories | None, update: int
) -> float:
    config = learner.config
    scores = learner.policy.score(data, {"log_probs", "values"})
    assert scores.log_probs_BT is not None
    assert scores.values_BS is not None
    states = scores.values_BS[:, :-1][data.mask_BT]
    shift = learner.divergence.neutral / (config.alpha * (1 - config.gamma)) - float(states.mean())
    real = [literal_log(learner, data, row, shift) for row in range(len(data))]
    weight, likelihood, on_data = (sum(item) for item in zip(*real, strict=True))
    matching = -likelihood + on_data
    if replayed is not None:
        fakes = [literal_log(learner, replayed, row, shift)[2] for row in range(len(replayed))]
        on_model = sum(fakes) / len(fakes) * len(data)
        matching = -likelihood + 0.5 * on_data + 0.5 * on_model
    cloning = -float(scores.log_probs_BT.sum()) / int(data.num_actions_B.sum())
    beta = learner.beta(update)
    return beta * cloning + (1 - beta) * matching / weight


@pytest.mark.parametrize(
    ("divergence", "terminal"),
    [
        *((name, "eos") for name in DIVERGENCES),
        *((name, "zero") for name, given in DIVERGENCES.items() if not given.neutral),
    ],
)
@torch.no_grad()
def test_the_loss_is_the_literal_loop(divergence: str, terminal: str, monkeypatch: Any) -> None:
    learner = make(quick(divergence=divergence, terminal=terminal, bc_updates=0))
    monkeypatch.setattr(learner, "step", lambda *_: 1.0)  # the loss alone
    data, rollouts = expert(1), typed(learner, 0)
    assert bool((data.labels_BT != data.actions_BT).any())
    replayed = None
    if learner.divergence.mixture:
        assert rollouts is not None
        replayed = rollouts[::2]
        assert len(set(replayed.terminated_B.tolist())) == 2, "some end, and some are cut off"
    found = learner.update(data, rollouts)
    expected = literal_loss(learner, data, replayed, 0)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["beta"] == pytest.approx(0.6)
    half = 0.5 if learner.divergence.mixture else 1.0
    penalty = half * found["penalty_data"] + (1 - half) * found["penalty_model"]
    matching = found["nll"] + penalty
    assert found["loss"] == pytest.approx(0.6 * found["cloning"] + 0.4 * matching, rel=1e-5)
    assert all(math.isfinite(value) for value in found.values())


CONFIGS: list[tuple[dict[str, Any], ActionSpace]] = [
    *(({"divergence": name, "terminal": "eos"}, SPACE) for name in DIVERGENCES),
    ({"divergence": "chi2"}, SPACE),
    ({}, SPACE),
    ({"noise": NoiseConfig(0.4, blame="expert")}, SPACE),
    ({"noise": NoiseConfig(0.0), "capacity": 1, "sample_every": 1}, PLAIN),
    ({"noise": NoiseConfig()}, PLAIN),
    ({"terminal": "zero"}, FULL),
    ({"bc_updates": 0, "stride": 1, "clip": 0.1, "terminal": "eos"}, SPACE),
]


@pytest.mark.parametrize(("values", "space"), CONFIGS)
def test_the_contract(values: dict[str, Any], space: ActionSpace) -> None:
    if not space.backspace:
        values = {"noise": NoiseConfig()} | values
    check_learner(SequenceMatch, policy, quick(**values), space)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("values", "space"), [CONFIGS[0], *CONFIGS[3:5], *CONFIGS[6:]])
def test_a_group_is_one_learner_on_the_joined_batch(
    values: dict[str, Any], space: ActionSpace, size: int
) -> None:
    if not space.backspace:
        values = {"noise": NoiseConfig()} | values
    alone = make(quick(**values), space)
    group = [make(quick(**values), space, member) for member in members(size)]
    for update in range(4):
        data, rollouts = expert(update, space), typed(alone, update)
        expected = alone.update(data, rollouts)
        parts = zip(group, split(data, size), split(rollouts, size), strict=True)
        with ThreadPoolExecutor(size) as pool:
            ends = [pool.submit(learner.update, *part) for learner, *part in parts]
        for end in ends:
            assert end.result() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for learner in group:
        assert learner.state() == pytest.approx(alone.state(), rel=1e-5)
        pairs = zip(alone.policy.parameters(), learner.policy.parameters(), strict=True)
        for ours, theirs in pairs:
            # By tensor: where gradients all but vanish, Adam makes steps of their rounding.
            assert float((theirs - ours).detach().norm()) <= 1e-5 * float(ours.detach().norm())


def test_the_schedule() -> None:
    learner = make(quick(bc_updates=3, anneal_updates=3, beta=0.2))
    found = [learner.beta(update) for update in range(9)]
    assert found == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    at_once = make(quick(bc_updates=2, anneal_updates=0, beta=0.3))
    assert [at_once.beta(update) for update in range(4)] == pytest.approx([1, 1, 0.3, 0.3])
    reported = [learner.update(expert(u), typed(learner, u)).get("beta", 1.0) for u in range(5)]
    assert reported == pytest.approx(found[:5])


def test_before_it_matches_it_clones() -> None:
    matching, cloning = make(quick(bc_updates=2)), make(quick(bc_updates=9))
    for update in range(3):
        assert matching.state() == {"updates": update}, "what is not centred has no shift"
        data = expert(update)
        ours = matching.update(data, typed(matching, update))
        theirs = cloning.update(data, None)
        assert (ours == theirs) == (update < 2)
    assert matching.state().keys() == {"updates", "shift"}
    shift = matching.state()["shift"]
    matching.update(expert(3), typed(matching, 3))
    assert matching.state()["shift"] == shift, "the shift is that of the first batch"


def test_demand() -> None:
    noise = Noise(0.4)
    learner = make(quick(bc_updates=3, sample_every=4))
    asked = [learner.demand(update) for update in range(12)]
    assert [demand.rollouts for demand in asked] == [0] * 3 + [8, 0, 0, 0] * 2 + [8]
    assert all(demand.noise == noise for demand in asked)
    assert {make(quick(divergence="chi2")).demand(u) for u in range(9)} == {Demand(noise=noise)}
    assert SequenceMatch.stands_for_run == "last"
    assert SequenceMatch.uses_rollouts
    default = SequenceMatchConfig()
    assert make(default).demand(0).noise == Noise(DEFAULT_RATE)
    assert make(default, PLAIN).demand(0).noise.rate == 0


def test_memory_is_the_rollouts_it_uses_again() -> None:
    learner = make(quick(capacity=2))
    given = []
    for update in range(6):
        rollouts = typed(learner, update)
        given += [] if rollouts is None else [rollouts]
        learner.update(expert(update), rollouts)
    assert len(given) == 3
    assert same(list(learner.memory().values()), given[-2:])
    other = make(quick(capacity=2))
    other.load_memory(learner.memory())
    assert same(other.memory(), learner.memory())


def test_rewards_of_an_absorbing_state() -> None:
    """x where V is known, and the closed form of a tail that never ends."""
    logs = written(PLAIN, Sequences.of([[1], [1, 2]]))
    logs = replace(logs, terminated_B=torch.tensor([True, False]))
    log_probs = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]], dtype=torch.float64)
    values = torch.tensor([[3.0, 5.0, 7.0, 0.0], [2.0, 4.0, 6.0, 8.0]], dtype=torch.float64)
    zero = implied_rewards(log_probs, values, logs, 0.5, "zero", 1.0)
    # V + 1 is 4, 6, 0 and 3, 5, 7, 9: that of the log that was cut off stays.
    assert zero.x_BT.tolist() == [[-1 + 4 - 3, -2 + 6 - 0, 0], [-2.5, -2.5, -2.5]]
    assert zero.weights_BT.tolist() == [[1, 0.5, 0], [1, 0.5, 0.25]]
    assert zero.final_B.tolist() == [0, 9]
    assert zero.tail_B.tolist() == [0, 0]
    eos = implied_rewards(log_probs, values, logs, 0.5, "eos", 1.0)
    assert eos.x_BT.tolist() == [[0, -2 + 6 - 4, 0], [-2.5, -2.5, -2.5]]
    assert eos.final_B.tolist() == [8, 9]
    assert eos.tail_B.tolist() == [0.25 / 0.5, 0]
    square = Divergence(lambda r: r.square())
    found = penalties(eos, square, 0.5, 0.5).tolist()
    tail = sum(0.5**step * (0.5 * 0.5 * 8) ** 2 for step in range(2, 60))
    assert found == pytest.approx([tail / 0.5, (1.75 * 1.25**2) / 0.5])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 0.0}, "learner.alpha must be positive"),
        ({"gamma": 1.0}, "learner.gamma between 0 and 1"),
        ({"beta": 1.5}, "learner.beta must be between 0 and 1, not 1.5"),
        ({"bc_updates": -1}, "must not be negative"),
        ({"anneal_updates": -1}, "must not be negative"),
        *(({name: 0}, "must be at least 1") for name in ("sample_every", "capacity", "stride")),
    ],
)
def test_options_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**values)


@pytest.mark.parametrize(
    ("config", "space", "message"),
    [
        (quick(terminal="eos"), FULL, "learner.terminal eos needs a task"),
        (quick(divergence="forward-kl", terminal="zero"), SPACE, "it needs learner.terminal eos"),
        (quick(stride=9), SPACE, "learner.stride must be at most"),
        (quick(), PLAIN, "learner.noise.rate needs --env.backspace"),
        (quick(divergence="helinger"), SPACE, r"did you mean hellinger\?"),
    ],
)
def test_what_does_not_fit(config: SequenceMatchConfig, space: ActionSpace, message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        make(config, space)


def test_a_stride_has_a_row_for_every_learner_of_a_group() -> None:
    make(quick(stride=4), group=members(2)[1])
    with pytest.raises(ValueError, match="sequences of each learner"):
        make(quick(stride=5), group=members(2)[1])
