"""The divergence of two policies, against what the scores of both make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rubout.checks import check_policy, random_logs
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.policy import Policy
from rubout.types import ActionSpace, Trajectories

SPACES = {
    "full": ActionSpace(4, 5, eos=False),
    "eos": ActionSpace(4, 5),
    "backspace": ActionSpace(4, 5, backspace=True),
    "no-redo": ActionSpace(4, 5, backspace=True, forbid_redo=True),
}


def lstm(space: ActionSpace, seed: int, hidden: int = 3) -> LSTMPolicy:
    torch.manual_seed(seed)
    return LSTMPolicy(space, LSTMConfig(hidden=hidden, embedding=4, init_std=0.7)).double()


def transformer(space: ActionSpace, seed: int) -> TransformerPolicy:
    torch.manual_seed(seed)
    config = TransformerConfig(layers=1, heads=2, width=8)
    return TransformerPolicy(space, config).double()


def same_as_the_default(own: Policy, other: Policy, logs: Trajectories, weights_BT: Tensor) -> None:
    found = own.weighted_divergence(other, logs, weights_BT)
    expected = Policy.weighted_divergence(own, other, logs, weights_BT)
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-10, atol=1e-12)
    parameters = [parameter for parameter in own.parameters() if parameter.requires_grad]
    gradients = [torch.autograd.grad(each[0], parameters) for each in (found, expected)]
    for one, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-10, atol=1e-12)


@given(
    space=st.sampled_from([*SPACES.values()]),
    seed=st.integers(0, 10**6),
    with_prompts=st.booleans(),
    with_slips=st.booleans(),
)
def test_two_networks_of_any_logs(
    space: ActionSpace, seed: int, with_prompts: bool, with_slips: bool
) -> None:
    logs = random_logs(space, 4, seed, with_prompts=with_prompts)
    own = lstm(space, seed)
    if with_slips:
        rows_BTA = own.score(logs, {"log_softmax"}).log_softmax_BTA
        assert rows_BTA is not None
        logs = replace(logs, intended_BT=torch.where(logs.mask_BT, rows_BTA.argmax(2), 0))
    generator = torch.Generator().manual_seed(seed)
    weights_BT = torch.randn(logs.actions_BT.shape, generator=generator, dtype=torch.float64)
    same_as_the_default(own, lstm(space, seed + 1, hidden=5), logs, weights_BT)
    same_as_the_default(own, transformer(space, seed), logs, weights_BT)
    same_as_the_default(transformer(space, seed), own, logs, weights_BT)


@pytest.mark.parametrize("method", [Policy.weighted_divergence, LSTMPolicy.weighted_divergence])
def test_the_other_policy_gets_no_gradient(method: Callable[..., tuple[Tensor, ...]]) -> None:
    space = SPACES["eos"]
    own, other, logs = lstm(space, 0), lstm(space, 1), random_logs(space, 4, 0)
    method(own, other, logs, torch.ones(logs.actions_BT.shape))[0].backward()
    assert all(parameter.grad is None for parameter in other.parameters())
    assert own.head.weight.grad is not None
    assert own.head.weight.grad.any()


def test_policies_of_spaces_that_differ() -> None:
    """Where the other one cannot do what this one can, nothing bounds the divergence."""
    logs = random_logs(SPACES["eos"], 6, 0)
    space = SPACES["backspace"]
    own, other = lstm(space, 0), lstm(replace(space, max_backspaces=0), 1)
    _, kl_BT, _ = own.weighted_divergence(other, logs, torch.ones(logs.actions_BT.shape))
    assert kl_BT[:, 0].isfinite().all(), "on an empty tape there is nothing to rub out"
    assert kl_BT[:, 1:][logs.mask_BT[:, 1:]].isinf().all()


def wrong(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]) -> type[LSTMPolicy]:
    class Wrong(LSTMPolicy):
        def weighted_divergence(
            self, other: Policy, trajectories: Trajectories, weights_BT: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            found = super().weighted_divergence(other, trajectories, weights_BT)
            total, kl_BT, log_probs_BT = change(*found)
            return total, kl_BT, log_probs_BT

    return Wrong


class WrongLikelihood(LSTMPolicy):
    def weighted_log_likelihood(
        self, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, log_probs_BT = super().weighted_log_likelihood(trajectories, weights_BT)
        return 2 * total - total.detach(), log_probs_BT


class Symmetric(LSTMPolicy):
    """The other policy is differentiated as well."""

    def weighted_divergence(
        self, other: Policy, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        total, *rest = super().weighted_divergence(other, trajectories, weights_BT)
        back, _ = other.weighted_log_likelihood(trajectories, weights_BT)
        return total + back - back.detach(), rest[0], rest[1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (wrong(lambda total, kl, scores: (2 * total - total.detach(), kl, scores)),
         "the gradient of weighted_divergence is not"),
        (wrong(lambda total, kl, scores: (total + 1, kl, scores)), "divergence is not that of"),
        (wrong(lambda total, kl, scores: (total, kl + 1, scores)), "divergence is not that of"),
        (wrong(lambda total, kl, scores: (total, kl, 2 * scores)), "divergence is not that of"),
        (wrong(lambda total, kl, scores: (total, kl[:, :1], scores)), "the shapes of weighted_div"),
        (wrong(lambda total, kl, scores: (total.detach(), kl, scores)), "the sum has a gradient"),
        (wrong(lambda total, kl, scores: (total, kl + 0 * total, scores)), "and nothing else"),
        (WrongLikelihood, "the gradient of weighted_log_likelihood is not"),
        (Symmetric, "the gradient of weighted_divergence is not"),
    ],
)  # fmt: skip
def test_the_check_holds_policies_to_it(broken: type[LSTMPolicy], message: str) -> None:
    torch.manual_seed(0)
    config = LSTMConfig(hidden=4, embedding=4, init_std=0.7)
    with pytest.raises(AssertionError, match=message):
        check_policy(broken(SPACES["backspace"], config))
