"""LeakGAN's generator: the policy's contract, and a forward pass as slow as it is written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rubout.checks import check_policy, random_logs
from rubout.discriminators import DiscriminatorConfig
from rubout.keys import blank, press
from rubout.policies.leakgan import LeakGANPolicy, LeakGANPolicyConfig
from rubout.types import ActionSpace, Sequences, Trajectories

SPACES = {
    "eos": ActionSpace(4, 5),
    "full": ActionSpace(4, 5, eos=False),
    "backspace": ActionSpace(4, 5, backspace=True, forbid_redo=True),
    "full-backspace": ActionSpace(4, 5, eos=False, backspace=True, max_actions=12),
    "least": ActionSpace(1, 1, backspace=True),
}
GOALS = ["window", "blocks"]


def make(
    space: ActionSpace,
    goals: str = "window",
    kind: str = "cnn",
    horizon: int = 2,
    normalise: bool = True,
) -> LeakGANPolicy:
    torch.manual_seed(3)
    network = DiscriminatorConfig(kind=kind, embedding=8, hidden=7, dropout=0.5)
    config = LeakGANPolicyConfig(
        embedding=5,
        hidden=6,
        goal=3,
        horizon=horizon,
        goals=goals,
        normalise=normalise,
        init_std=0.7,
        discriminator=network,
    )
    return LeakGANPolicy(space, config)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("goals", GOALS)
def test_the_contract(goals: str, space: str) -> None:
    check_policy(make(SPACES[space], goals))


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_the_contract_with_any_discriminator(kind: str) -> None:
    check_policy(make(SPACES["backspace"], kind=kind))


def lstm_step(module: torch.nn.LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates = module.weight_ih_l0 @ x + module.bias_ih_l0 + module.weight_hh_l0 @ h
    i, f, g, o = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def said(policy: LeakGANPolicy, text: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Features and sub-goals after each beginning of a text, one prefix at a time."""
    policy.discriminator.eval()
    h = c = torch.zeros(policy.config.hidden)
    features, subgoals = [], []
    for length in range(len(text) + 1):
        f = policy.discriminator.features(Sequences.of([text[:length]]))[0].detach()
        h, c = lstm_step(policy.manager, f, h, c)
        g = policy.subgoal.weight @ h + policy.subgoal.bias
        features.append(f)
        subgoals.append(g / g.norm())
    return features, subgoals


def slow_logits(policy: LeakGANPolicy, text: list[int]) -> Tensor:
    """O_t w_t with O_t as a matrix, from the text alone."""
    config = policy.config
    _, subgoals = said(policy, text)
    h = c = torch.zeros(config.hidden)
    for token in [policy.space.start_id, *text]:
        h, c = lstm_step(policy.worker, policy.embedding.weight[token], h, c)
    t = len(text)
    end = t if config.goals == "window" else t - t % config.horizon
    before = policy.goal_init[0] / policy.goal_init[0].norm()
    goal = torch.zeros_like(before)
    for place in range(end - config.horizon, end):
        goal = goal + (subgoals[place] if place >= 0 else before)
    w = policy.psi.weight @ goal
    if config.normalise:
        w = w / w.norm()
    matrices = policy.head.weight.view(policy.space.size, config.hidden + 1, config.goal)
    o_Ak = torch.einsum("ahk,h->ak", matrices, torch.cat([h, torch.ones(1)]))
    return o_Ak @ w


def states(space: ActionSpace, logs: Trajectories, row: int) -> list[tuple[list[int], Tensor]]:
    """What stands on the tape before each action of one log, and what is legal there."""
    one = logs[row : row + 1]
    state, found = blank(space, 1, one.prompts, "cpu"), []
    for step in range(int(one.num_actions_B)):
        text = state.tokens_BL[0, : int(state.length_B)].tolist()
        found.append((text, space.mask(state.legality(space))[0]))
        state, _ = press(space, state, one.actions_BT[:, step])
    return found


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("space", ["eos", "full-backspace"])
@pytest.mark.parametrize("goals", GOALS)
@torch.no_grad()
def test_scores_are_those_of_the_slow_pass(goals: str, space: str, horizon: int) -> None:
    world = SPACES[space]
    policy = make(world, goals, horizon=horizon, normalise=horizon != 3)
    for with_prompts in (False, True):
        logs = random_logs(world, 4, seed=horizon, with_prompts=with_prompts)
        rows_BTA = policy.score(logs, {"log_softmax"}).log_softmax_BTA
        assert rows_BTA is not None
        for row in range(len(logs)):
            for step, (text, legal) in enumerate(states(world, logs, row)):
                slow = slow_logits(policy, text).masked_fill(~legal, -torch.inf).log_softmax(0)
                torch.testing.assert_close(rows_BTA[row, step], slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", ["eos", "full-backspace"])
@torch.no_grad()
def test_the_hierarchy_holds_features_and_subgoals_of_every_state(space: str) -> None:
    world = SPACES[space]
    policy = make(world)
    logs = random_logs(world, 4, seed=1, with_prompts=True)
    found = policy.hierarchy(logs)
    batch, width = logs.actions_BT.shape
    assert found.features_BSF.shape[:2] == (batch, width + 1)
    assert found.subgoals_BTF.shape[:2] == (batch, width)
    expected = policy.score(logs, {"log_probs"}).log_probs_BT
    torch.testing.assert_close(found.log_probs_BT, expected, rtol=1e-5, atol=1e-6)
    for row in range(batch):
        for step, (text, _) in enumerate(states(world, logs, row)):
            features, subgoals = said(policy, text)
            pair = found.features_BSF[row, step], found.subgoals_BTF[row, step]
            torch.testing.assert_close(pair, (features[-1], subgoals[-1]), rtol=1e-5, atol=1e-5)


def touched(policy: LeakGANPolicy, loss: Tensor) -> set[str]:
    """Which parts a loss has a gradient in."""
    policy.zero_grad(set_to_none=True)
    loss.backward()
    whole = policy.parts() | {"discriminator": list(policy.discriminator.parameters())}
    return {
        name
        for name, parameters in whole.items()
        if any(p.grad is not None and p.grad.any() for p in parameters)
    }


@pytest.mark.parametrize("space", ["eos", "backspace"])
def test_manager_and_worker_are_apart_where_a_learner_asks_for_that(space: str) -> None:
    policy = make(SPACES[space])
    policy.discriminator.requires_grad_(True)  # as a learner does that trains it
    logs = random_logs(SPACES[space], 4, seed=2)
    log_probs = policy.score(logs, {"log_probs"}).log_probs_BT
    assert log_probs is not None
    assert touched(policy, log_probs.sum()) == {"manager", "worker"}
    assert touched(policy, policy.hierarchy(logs).log_probs_BT.sum()) == {"worker"}
    # The squares of a sub-goal sum to 1, whatever it is.
    assert touched(policy, policy.hierarchy(logs).subgoals_BTF.sum()) == {"manager"}
    assert not policy.hierarchy(logs).features_BSF.requires_grad


def test_parts_are_all_that_is_trained_and_the_discriminator_is_saved() -> None:
    policy = make(SPACES["eos"])
    parts = [id(p) for parameters in policy.parts().values() for p in parameters]
    assert len(set(parts)) == len(parts)
    assert set(parts) == {id(p) for p in policy.parameters() if p.requires_grad}
    saved = policy.state_dict()
    for name in policy.discriminator.state_dict():
        assert f"discriminator.{name}" in saved


@pytest.mark.parametrize("kind", ["cnn", "transformer"])
@torch.no_grad()
def test_training_mode_changes_nothing(kind: str) -> None:
    policy = make(SPACES["eos"], kind=kind)
    logs = random_logs(SPACES["eos"], 4, seed=0)
    policy.train()
    training = policy.hierarchy(logs)
    assert policy.discriminator.training
    policy.eval()
    still = policy.hierarchy(logs)
    assert not policy.discriminator.training
    assert torch.equal(training.features_BSF, still.features_BSF)
    assert torch.equal(training.log_probs_BT, still.log_probs_BT)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policy\.horizon"):
        LeakGANPolicyConfig(horizon=0)
    with pytest.raises(ValueError, match=r"policy\.init-std"):
        LeakGANPolicyConfig(init_std=-1.0)
