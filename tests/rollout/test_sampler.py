"""Sampling: what is drawn depends on the request's seed and numbers alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.evaluation.references import ConstantPolicy
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.policy import Policy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(5, 6, backspace=True)


def lstm(space: ActionSpace = SPACE) -> LSTMPolicy:
    torch.manual_seed(3)
    return LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, init_std=0.7))


def transformer(space: ActionSpace = SPACE) -> TransformerPolicy:
    torch.manual_seed(3)
    return TransformerPolicy(space, TransformerConfig(layers=1, width=8, heads=2))


def prompts_for(count: int, first: int = 0) -> Sequences:
    return Sequences.of([[number % 5] * (number % 3) for number in range(first, first + count)])


POLICIES = {"lstm": lstm(), "transformer": transformer()}
WHOLE = {
    (name, prompted): Sampler(policy).sample(
        Request(9, 2, 12, prompts_for(12) if prompted else None)
    )
    for name, policy in POLICIES.items()
    for prompted in (False, True)
}


@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=12, deadline=None)
@given(size=st.integers(1, 12))
def test_any_split_of_a_request_draws_the_same(name: str, prompted: bool, size: int) -> None:
    request = Request(9, 2, 12, prompts_for(12) if prompted else None)
    parts = request.split(size)
    assert sum(part.count for part in parts) == 12
    assert all(part.count <= size for part in parts)
    sampler = Sampler(POLICIES[name])
    whole, joined = WHOLE[name, prompted], Trajectories.cat([sampler.sample(p) for p in parts])
    assert joined.actions_BT.equal(whole.actions_BT)
    assert joined.num_actions_B.equal(whole.num_actions_B)
    assert joined.terminated_B.equal(whole.terminated_B)
    torch.testing.assert_close(joined.log_probs_BT, whole.log_probs_BT, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 300),
    batch=st.integers(1, 9),
    actors=st.integers(1, 5),
    prompted=st.booleans(),
    last=st.booleans(),
)
def test_actors_share_the_batches_of_a_request(
    count: int, batch: int, actors: int, *, prompted: bool, last: bool
) -> None:
    """The same batches as in one process; where it is the last, a single one in the end."""
    request = Request(9, 2, count, prompts_for(count) if prompted else None)
    shares, batches = request.shares(batch, actors, last=last), request.split(batch)
    found = [part for share in shares for part in share.split(batch)]
    assert [(part.first, part.count) for part in found] == [
        (part.first, part.count) for part in batches
    ]
    if prompted:
        wanted = [part.prompts.lists() for part in batches if part.prompts is not None]
        assert [part.prompts.lists() for part in found if part.prompts is not None] == wanted
    sizes = [len(share.split(batch)) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == min(8, max(1, len(batches) // (2 * actors)))
    if last:
        assert sizes[-1] == 1
        assert sizes.count(1) >= min(len(batches), 2 * actors)
    else:
        assert set(sizes[:-1]) <= {sizes[0]}


def test_few_parts_make_many_batches() -> None:
    assert len(Request(0, 0, 4096).shares(64, 2)) == 17
    assert len(Request(0, 0, 4096).shares(64, 16)) == 63
    assert len(Request(0, 0, 4096).shares(64, 2, last=False)) == 8


def test_seeds_and_numbers_matter() -> None:
    sampler = Sampler(lstm())
    first = sampler.sample(Request(9, 0, 12)).actions_BT.tolist()
    assert first == sampler.sample(Request(9, 0, 12)).actions_BT.tolist()
    assert first != sampler.sample(Request(10, 0, 12)).actions_BT.tolist()
    assert first != sampler.sample(Request(9, 12, 12)).actions_BT.tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", POLICIES)
def test_log_probs_are_those_of_scoring(name: str, temperature: float) -> None:
    policy = POLICIES[name]
    drawn = Sampler(policy).sample(Request(4, 0, 20), temperature, policy_version=6)
    scored = policy.score(drawn, {"log_probs"}, temperature).log_probs_BT
    assert scored is not None
    torch.testing.assert_close(drawn.log_probs_BT, scored.detach(), rtol=1e-4, atol=1e-5)
    assert drawn.policy_version_B.tolist() == [6] * 20
    backspaces = drawn.mask_BT & (drawn.actions_BT == SPACE.backspace_id)
    assert bool(backspaces.any()), "the test must see what it is about"


def test_shares_are_the_policys() -> None:
    """The first action of a known policy, at two temperatures."""
    probs = torch.tensor([0.4, 0.3, 0.1, 0.05, 0.05, 0.1, 1e-9])
    sampler = Sampler(ConstantPolicy(SPACE, probs.log()))
    for temperature in (1.0, 0.5):
        first = sampler.sample(Request(1, 0, 10_000), temperature).actions_BT[:, 0]
        expected = probs.clone() ** (1 / temperature)
        expected[SPACE.backspace_id] = 0  # nothing to rub out
        shares = torch.bincount(first, minlength=SPACE.size) / len(first)
        torch.testing.assert_close(shares, expected / expected.sum(), rtol=0, atol=0.015)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        Sampler(lstm()).sample(Request(0, 0, 1), temperature)


def test_what_is_suppressed_is_never_drawn() -> None:
    sampler = Sampler(lstm())
    free = sampler.sample(Request(2, 0, 50))
    drawn = sampler.sample(Request(2, 0, 50), suppress=(SPACE.backspace_id, 3))
    for action in (SPACE.backspace_id, 3):
        assert bool((free.actions_BT[free.mask_BT] == action).any())
        assert not bool((drawn.actions_BT[drawn.mask_BT] == action).any())
    assert bool(drawn.log_probs_BT.isfinite().all())


def test_prompts_stand_first() -> None:
    prompts = prompts_for(6)
    drawn = Sampler(lstm()).sample(Request(2, 0, 6, prompts))
    assert drawn.prompts is not None
    assert drawn.prompts.lists() == prompts.lists()
    for text, prompt in zip(survivors(SPACE, drawn).lists(), prompts.lists(), strict=True):
        assert text[: len(prompt)] == prompt


def length_reward(trajectories: Trajectories) -> Tensor:
    return trajectories.num_actions_B.float()


def test_rewards_and_penalties() -> None:
    policy = lstm()
    assert Sampler(policy).sample(Request(2, 0, 6)).rewards_BT is None
    drawn = Sampler(policy, length_reward, step_penalty=0.25).sample(Request(2, 0, 6))
    assert drawn.rewards_BT is not None
    totals = drawn.num_actions_B * (1 - 0.25)
    torch.testing.assert_close(drawn.rewards_BT.sum(1), totals)
    assert not drawn.rewards_BT[~drawn.mask_BT].any()
    last = drawn.rewards_BT.gather(1, (drawn.num_actions_B - 1).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(last, drawn.num_actions_B - 0.25)


@pytest.mark.parametrize(
    "space",
    [
        ActionSpace(5, 6, eos=False),
        replace(SPACE, forbid_redo=True, max_backspaces=1),
        replace(SPACE, max_actions=4),
    ],
)
def test_only_what_is_legal_is_drawn(space: ActionSpace) -> None:
    policy: Policy = lstm(space)
    drawn = Sampler(policy).sample(Request(2, 0, 60))
    assert int(drawn.num_actions_B.max()) <= space.action_limit
    scored = policy.score(drawn, {"log_probs"}).log_probs_BT
    assert scored is not None
    assert bool(scored.isfinite().all())
    if space.max_actions:
        cut = ~drawn.terminated_B
        assert bool(cut.any())
        assert bool((drawn.num_actions_B[cut] == space.max_actions).all())
    else:
        assert space.eos or bool(drawn.terminated_B.all())


@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("name", POLICIES)
def test_a_prefix_counts_and_can_be_rubbed_out(name: str, prompted: bool) -> None:
    prefixes = Sequences.of([[1, 2], [3], [0, 1, 6, 4], []] * 3)
    prompts = prompts_for(12) if prompted else None
    sampler = Sampler(POLICIES[name])
    request = Request(4, 0, 12, prompts, prefixes)
    drawn = sampler.sample(request)
    begun = torch.arange(drawn.actions_BT.shape[1]) < prefixes.lengths_B.unsqueeze(1)
    for row, prefix in enumerate(prefixes.lists()):
        assert drawn.actions_BT[row, : len(prefix)].tolist() == prefix
    assert not drawn.log_probs_BT[begun].any()
    scores = POLICIES[name].score(drawn, {"log_probs"}).log_probs_BT
    assert scores is not None
    mine = drawn.mask_BT & ~begun
    torch.testing.assert_close(drawn.log_probs_BT[mine], scores[mine], rtol=1e-4, atol=1e-5)
    given = 0 if prompts is None else prompts.lengths_B
    assert bool((survivors(SPACE, drawn).lengths_B < given + 2).any()), "a prefix was rubbed out"
    parts = [sampler.sample(part) for part in request.split(5)]
    assert Trajectories.cat(parts).actions_BT.equal(drawn.actions_BT)


def test_a_prefix_that_ends_the_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="ends the episode by itself"):
        Sampler(POLICIES["lstm"]).sample(Request(0, 0, 1, prefixes=Sequences.of([[1, 5]])))
