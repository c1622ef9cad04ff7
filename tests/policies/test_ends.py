"""After `<eos>` the value is a logit of one more node, put there by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rubout.checks import random_logs
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.tape import survivors
from rubout.types import ActionSpace

SPACE = ActionSpace(3, 4, backspace=True)


def make(kind: str, space: ActionSpace) -> NetworkPolicy:
    torch.manual_seed(4)
    policy: NetworkPolicy
    if kind == "transformer":
        policy = TransformerPolicy(space, TransformerConfig(2, 8, 2, dropout=0.5))
    else:
        policy = LSTMPolicy(space, LSTMConfig(int(kind[-1]), 6, 7, dropout=0.5, init_std=0.7))
    for parameter in policy.parameters():  # far from uniform, so that differences show
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.6)
    return policy.eval()


def literal(policy: NetworkPolicy, text: list[int]) -> Tensor:
    """The logits of the node after the text that reads the start symbol: token by token."""
    memory = policy.remember(1)
    start = policy.space.start_id
    for depth, token in enumerate([start, *text, start]):
        hidden = policy.extend(memory, None, torch.tensor([token]), torch.tensor([depth]))
    logits: Tensor = policy.head(hidden)[0]
    return logits


@torch.no_grad()
@pytest.mark.parametrize("with_prompts", [False, True])
@pytest.mark.parametrize("space", [SPACE, replace(SPACE, backspace=False)])
@pytest.mark.parametrize("kind", ["lstm-1", "lstm-2", "transformer"])
def test_the_value_after_eos(kind: str, space: ActionSpace, with_prompts: bool) -> None:
    policy = make(kind, space)
    longer = make(kind, replace(space, max_length=space.max_length + 1))  # room for the end
    shared = dict(policy.named_parameters())
    for name, parameter in longer.named_parameters():
        parameter.copy_(shared[name])
    logs = random_logs(space, 40, 1, with_prompts=with_prompts)
    texts = survivors(space, logs).lists()
    assert max(len(text) for text in texts) == space.max_length, "full tapes end, too"
    values_BS = policy.score(logs, {"values"}).values_BS
    assert values_BS is not None
    ends = values_BS.gather(1, logs.num_actions_B.unsqueeze(1)).squeeze(1)
    for row, text in enumerate(texts):
        if logs.terminated_B[row]:
            expected = literal(longer, text)[space.eos_id]
            torch.testing.assert_close(ends[row], expected, rtol=1e-5, atol=1e-5)
    # A log that was cut off ends in a state like any other.
    cut = replace(logs, num_actions_B=(logs.num_actions_B - 1).clamp(min=1))
    cut = replace(cut, actions_BT=cut.actions_BT * cut.mask_BT)
    same = policy.score(cut, {"values"}).values_BS
    assert same is not None
    states = torch.arange(values_BS.shape[1]) < cut.num_actions_B.unsqueeze(1) + 1
    states &= (logs.num_actions_B > 1).unsqueeze(1)
    torch.testing.assert_close(same[states], values_BS[states], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm-1", "transformer"])
def test_it_changes_no_probability(kind: str) -> None:
    policy = make(kind, SPACE)
    logs = random_logs(SPACE, 12, 2)
    alone = policy.score(logs, {"log_probs"}).log_probs_BT
    beside = policy.score(logs, {"log_probs", "values"}).log_probs_BT
    assert alone is not None
    assert beside is not None
    torch.testing.assert_close(alone, beside, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm-1", "transformer"])
def test_logs_without_an_action(kind: str) -> None:
    policy = make(kind, SPACE)
    logs = random_logs(SPACE, 5, 2, with_prompts=True)
    nothing = replace(
        logs,
        actions_BT=logs.actions_BT[:, :0],
        log_probs_BT=logs.log_probs_BT[:, :0],
        num_actions_B=torch.zeros_like(logs.num_actions_B),
    )
    whole = policy.score(logs, {"values"}).values_BS
    found = policy.score(nothing, {"values"}).values_BS
    assert whole is not None
    assert found is not None
    assert found.shape == (5, 1)
    torch.testing.assert_close(found[:, 0], whole[:, 0], rtol=1e-5, atol=1e-5)
