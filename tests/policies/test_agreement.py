"""Every policy types as it scores: `check_policy`, and the same claim for any log at all."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.checks import check_policy
from rubout.evaluation.references import ConstantPolicy
from rubout.keys import blank, press
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.policy import Policy
from rubout.types import ActionSpace, Sequences, Trajectories

SPACES = {
    "eos": ActionSpace(4, 5),
    "full": ActionSpace(4, 5, eos=False),
    "backspace": ActionSpace(4, 5, backspace=True),
    "full-backspace": ActionSpace(4, 5, eos=False, backspace=True, max_actions=12),
    "no-redo": ActionSpace(4, 5, backspace=True, forbid_redo=True),
    "two-backspaces": ActionSpace(4, 5, backspace=True, forbid_redo=True, max_backspaces=2),
    "no-backspaces": ActionSpace(4, 5, backspace=True, max_backspaces=0),
    "least": ActionSpace(1, 1, backspace=True),
}


def lstm(space: ActionSpace, layers: int = 1) -> Policy:
    return LSTMPolicy(space, LSTMConfig(layers=layers, embedding=6, hidden=7, init_std=0.7))


def wide_lstm(space: ActionSpace) -> Policy:
    """Which steps in another way."""
    return LSTMPolicy(space, LSTMConfig(layers=2, embedding=320, hidden=320))


def transformer(space: ActionSpace) -> Policy:
    policy = TransformerPolicy(space, TransformerConfig(layers=2, width=8, heads=2))
    for parameter in policy.parameters():  # far from uniform, so that differences show
        torch.nn.init.normal_(parameter, std=0.4)
    return policy


POLICIES: dict[str, Callable[[ActionSpace], Policy]] = {
    "lstm": lstm,
    "lstm-2": lambda space: lstm(space, 2),
    "lstm-wide": wide_lstm,
    "transformer": transformer,
    "constant": lambda space: ConstantPolicy(space, torch.randn(space.size)),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_contract(policy: str, space: str) -> None:
    torch.manual_seed(1)
    check_policy(POLICIES[policy](SPACES[space]))


def logs_of(prompts: list[list[int]], actions: list[list[int]]) -> Trajectories:
    typed = Sequences.of(actions)
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.zeros(len(typed), dtype=torch.bool),
        policy_version_B=torch.zeros_like(typed.lengths_B),
        prompts=Sequences.of(prompts),
    )


def generated(policy: Policy, logs: Trajectories) -> tuple[Tensor, Tensor]:
    """log pi [B, T, A] of the states that generation passes through, and what is legal there."""
    space = policy.space
    typing = policy.start(len(logs), logs.prompts)
    state = blank(space, len(logs), logs.prompts, "cpu")
    rows, masks = [], []
    for step, actions_B in enumerate(logs.actions_BT.T):
        masks.append(space.mask(state.legality(space)))
        rows.append(typing.logits().masked_fill(~masks[-1], -torch.inf).log_softmax(1))
        state, keys = press(space, state, actions_B, step < logs.num_actions_B)
        typing.step(actions_B, keys)
    return torch.stack(rows, dim=1), torch.stack(masks, dim=1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[ActionSpace, Trajectories]:
    """Any actions up to `<eos>`: legal or not, and on a full tape."""
    num_tokens, length = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    space = ActionSpace(
        num_tokens,
        length,
        eos=draw(st.booleans()),
        backspace=draw(st.booleans()),
        forbid_redo=num_tokens > 1 and draw(st.booleans()),
        max_backspaces=draw(st.none() | st.integers(0, 2)),
    )
    prompt = st.lists(st.integers(0, num_tokens - 1), max_size=length - 1)
    # A third or more are backspaces, where there are any.
    action = st.integers(0, space.size - 1) | st.just(space.size - 1)
    log = st.tuples(prompt, st.lists(action, min_size=1, max_size=10))
    prompts, actions = zip(*draw(st.lists(log, min_size=1, max_size=3)), strict=True)
    ends = [log.index(space.eos_id) + 1 if space.eos_id in log else len(log) for log in actions]
    cut = [log[:end] for log, end in zip(actions, ends, strict=True)]
    return space, logs_of(list(prompts), cut)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25, deadline=None)
@given(world=worlds(), seed=st.integers(0, 9))
def test_generation_is_scoring(
    policy: str, world: tuple[ActionSpace, Trajectories], seed: int
) -> None:
    space, logs = world
    torch.manual_seed(seed)
    model = POLICIES[policy](space).eval()
    expected, legal = generated(model, logs)
    scores = model.score(logs, {"log_softmax", "log_probs"})
    assert scores.log_softmax_BTA is not None
    assert scores.log_probs_BT is not None
    # Without <eos> a full tape is the end: no action follows it, and nothing is said of it.
    meant = logs.mask_BT & (legal[:, :, : space.num_tokens].any(2) | space.eos)
    assert scores.log_softmax_BTA[meant].isfinite().equal(legal[meant])
    torch.testing.assert_close(scores.log_softmax_BTA[meant], expected[meant], rtol=1e-5, atol=1e-5)
    chosen = expected.gather(2, logs.actions_BT.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(scores.log_probs_BT[meant], chosen[meant], rtol=1e-5, atol=1e-5)
    assert not scores.log_probs_BT[~logs.mask_BT].any()


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_typed_next_follows_weights_that_changed(policy: str) -> None:
    space, logs = SPACES["backspace"], logs_of([[1], [2]], [[0, 3], [2, 2]])
    torch.manual_seed(0)
    model = POLICIES[policy](space).eval()
    before, _ = generated(model, logs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.5)
    after, _ = generated(model, logs)
    scores = model.score(logs, {"log_softmax"})
    assert scores.log_softmax_BTA is not None
    torch.testing.assert_close(after, scores.log_softmax_BTA, rtol=1e-5, atol=1e-5)
    assert not after.allclose(before)
