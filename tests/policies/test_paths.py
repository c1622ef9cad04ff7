"""The fast path of logs without a deletion, dropout, and temperature."""

import copy
from dataclasses import replace

import pytest
import torch

from rubout.checks import random_logs
from rubout.policies import network
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import replay
from rubout.tape.replay import replay_keys
from rubout.types import ActionSpace

SPACE = ActionSpace(6, 7, backspace=True)
PLAIN = replace(SPACE, backspace=False)


def make(kind: str, dropout: float = 0.0) -> NetworkPolicy:
    torch.manual_seed(2)
    policy: NetworkPolicy
    if kind == "transformer":
        policy = TransformerPolicy(SPACE, TransformerConfig(2, 8, 2, dropout=dropout))
    else:
        layers = int(kind[-1])
        policy = LSTMPolicy(SPACE, LSTMConfig(layers, 6, 7, dropout=dropout, init_std=0.5))
    return policy


KINDS = ("lstm-1", "lstm-2", "transformer")


@pytest.mark.parametrize("with_prompts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_path_is_the_tree(
    kind: str, with_prompts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make(kind)
    logs = random_logs(PLAIN, 9, 3, with_prompts=with_prompts)
    assert replay(SPACE, logs).linear
    results = []
    for way in (replay, replay_keys):
        monkeypatch.setattr(network, "replay", way)
        scores = policy.score(logs, {"log_probs", "values"})
        assert scores.log_probs_BT is not None
        assert scores.values_BS is not None
        total = scores.log_probs_BT.sum() + scores.values_BS.square().sum()
        trained = [p for p in policy.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(total, trained)
        results.append((scores.log_probs_BT, scores.values_BS, *gradients))
    for fast, tree in zip(*results, strict=True):
        torch.testing.assert_close(fast, tree, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backspace", [False, True])
def test_dropout_only_while_training(kind: str, backspace: bool) -> None:
    policy, without = make(kind, dropout=0.5), make(kind)
    logs = random_logs(SPACE if backspace else PLAIN, 9, 3)

    def scored(policy: NetworkPolicy) -> torch.Tensor:
        found = policy.score(logs, {"log_probs"}).log_probs_BT
        assert found is not None
        return found

    policy.train()
    assert not scored(policy).equal(scored(policy))
    policy.eval()
    assert scored(policy).equal(scored(policy))
    assert scored(policy).equal(scored(without.train()))


@pytest.mark.parametrize("kind", KINDS)
def test_typing_is_without_dropout(kind: str) -> None:
    policy = make(kind, dropout=0.5).train()
    drawn = Sampler(policy).sample(Request(1, 0, 5))
    assert policy.training, "the sampler leaves the mode as it was"
    assert drawn.actions_BT.equal(Sampler(make(kind)).sample(Request(1, 0, 5)).actions_BT)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_temperature_divides_the_logits(kind: str, temperature: float) -> None:
    policy = make(kind)
    cooled = copy.deepcopy(policy)
    with torch.no_grad():
        cooled.head.weight.div_(temperature)
        cooled.head.bias.div_(temperature)
    logs = random_logs(SPACE, 9, 3)
    want = {"log_probs", "values", "log_softmax"}
    one, other = policy.score(logs, want, temperature), cooled.score(logs, want)  # type: ignore[arg-type]
    for name in ("log_probs_BT", "values_BS", "log_softmax_BTA"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)
    plain = policy.score(logs, {"values"}).values_BS
    assert not torch.allclose(plain, one.values_BS)  # type: ignore[arg-type]


def test_the_start_symbol_has_an_embedding_of_its_own() -> None:
    policy = make("lstm-1")
    before = policy.start(1).logits()
    with torch.no_grad():
        policy.embedding.weight[SPACE.start_id] += 1.0  # type: ignore[operator, union-attr, index]
    assert not before.equal(policy.start(1).logits())


def test_the_tree_drops_between_layers_as_the_fast_path_does() -> None:
    """torch's LSTM drops what one layer hands to the next; so does the tree, in one go."""
    policy, calls = make("lstm-2", dropout=0.5), []
    policy.get_submodule("dropout").register_forward_hook(lambda *_: calls.append(1))
    logs = random_logs(SPACE, 9, 3)
    policy.score(logs, {"log_probs"})
    assert len(calls) == 3  # the embedding, what goes from layer to layer, and the output
