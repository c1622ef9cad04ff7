"""The scorer learns what can be learned, stops where it should, and sees sequences as defined."""

import math

import pytest
import torch

from rubout.evaluation.estimate import Estimate
from rubout.evaluation.features import LanguageModelConfig, features, fit_language_model
from rubout.evaluation.nll import nll
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import replay, written
from rubout.types import ActionSpace, Sequences

SPACE = ActionSpace(3, 6)
CONFIG = LanguageModelConfig(embedding=8, hidden=8, dropout=0.1, lr=0.02, batch_size=16, epochs=4)
ROWS = [[0, 1, 2], [], [2], [1, 1, 0, 2, 0, 1], [0, 0]]


def drawn(count: int, seed: int) -> Sequences:
    """Token 0 alone, or token 1 and then 2: each half of the time."""
    generator = torch.Generator().manual_seed(seed)
    coins = torch.rand(count, generator=generator) < 0.5
    return Sequences.of([[0] if coin else [1, 2] for coin in coins.tolist()])


def under(model: LSTMPolicy, sequences: Sequences) -> Estimate:
    return nll(model, written(SPACE, sequences))


def weights(model: LSTMPolicy) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def a_policy(**changed: float) -> LSTMPolicy:
    torch.manual_seed(1)
    return LSTMPolicy(SPACE, LSTMConfig(embedding=4, hidden=5, **changed))  # type: ignore[arg-type]


def test_it_learns_what_there_is() -> None:
    """One fair coin a sequence: log 2 nats, over 2.5 actions in the mean."""
    config = LanguageModelConfig(embedding=8, hidden=8, dropout=0.0, lr=0.02, epochs=12, patience=3)
    model = fit_language_model(drawn(500, 0), drawn(200, 1), SPACE, config)
    text = written(SPACE, drawn(500, 2))
    limit = math.log(2) * len(text) / float(text.num_actions_B.sum())
    assert limit - 0.01 < nll(model, text).mean < limit + 0.02


def test_frozen_and_repeatable() -> None:
    train, validation = drawn(60, 0), drawn(20, 1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = fit_language_model(train, validation, SPACE, CONFIG, seed=5)
    assert torch.get_rng_state().equal(before)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.rand(7)
    again = fit_language_model(train, validation, SPACE, CONFIG, seed=5)
    assert all(a.equal(b) for a, b in zip(weights(model), weights(again), strict=True))
    other = fit_language_model(train, validation, SPACE, CONFIG, seed=6)
    assert not all(a.equal(b) for a, b in zip(weights(model), weights(other), strict=True))


def by_passes(passes: range, patience: int) -> list[float]:
    """Validation NLL, which rises as the training sequences, of token 0 alone, are learned."""
    train, validation = Sequences.of([[0]] * 40), Sequences.of([[0], [1]])
    found = []
    for epochs in passes:
        config = LanguageModelConfig(
            embedding=4, hidden=4, dropout=0.0, lr=0.05, batch_size=8, epochs=epochs,
            patience=patience,
        )  # fmt: skip
        found.append(under(fit_language_model(train, validation, SPACE, config), validation).mean)
    return found


def test_the_best_pass_is_kept() -> None:
    """More passes never make it worse; all after the best one are forgotten."""
    found = by_passes(range(1, 7), patience=100)
    assert found == sorted(found, reverse=True)
    assert found[-1] == found[-2]
    assert found[0] < math.log(4)


def test_patience() -> None:
    """It stops after the first pass that is no better: thousands would take too long."""
    assert by_passes(range(100_000, 100_001), patience=1) == by_passes(range(6, 7), patience=1)


def test_features_are_means_of_hidden_states() -> None:
    """Of the start and every prefix, each encoded alone."""
    policy = a_policy().eval()
    found = features(policy, Sequences.of(ROWS))
    assert found.dtype == torch.float64
    assert found.shape == (5, 5)
    for row, tokens in enumerate(ROWS):
        states = []
        for length in range(len(tokens) + 1):
            text = written(SPACE, Sequences.of([tokens[:length]]))
            states.append(policy.encode(replay(SPACE, text))[0, length])
        expected = torch.stack(states).mean(0).double()
        assert found[row].numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5, abs=1e-7)


def test_features_do_not_depend_on_the_batch() -> None:
    """Nor on padding, whatever stands there."""
    policy = a_policy()
    sequences = Sequences.of(ROWS)
    wide = torch.where(sequences.mask_BL, sequences.tokens_BL, 2)
    expected = pytest.approx(features(policy, sequences).numpy(), rel=1e-5, abs=1e-7)
    assert features(policy, sequences, batch_size=2).numpy() == expected
    assert features(policy, Sequences(wide, sequences.lengths_B)).numpy() == expected
    alone = [features(policy, Sequences.of([row])) for row in ROWS]
    assert torch.cat(alone).numpy() == expected


def test_features_without_dropout() -> None:
    """Off while features are made, and as it was after."""
    policy = a_policy(dropout=0.5).train()
    sequences = Sequences.of(ROWS)
    assert features(policy, sequences).equal(features(policy, sequences))
    assert policy.training


def test_features_where_tapes_are_full() -> None:
    """Without `<eos>` a full tape has one state more than actions."""
    space = ActionSpace(3, 2, eos=False)
    torch.manual_seed(0)
    policy = LSTMPolicy(space, LSTMConfig(embedding=4, hidden=5))
    tape = replay(space, written(space, Sequences.of([[2, 1]])))
    expected = policy.encode(tape)[0].mean(0).detach().numpy()
    found = features(policy, Sequences.of([[2, 1]]))[0]
    assert found.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_what_does_not_fit() -> None:
    policy = a_policy()
    with pytest.raises(ValueError, match="no sequences"):
        features(policy, Sequences.of([]))
    with pytest.raises(ValueError, match="up to 7 tokens do not fit"):
        features(policy, Sequences.of([[0] * 7]))
    with pytest.raises(ValueError, match="below 3"):
        fit_language_model(drawn(4, 0), Sequences.of([[3]]), SPACE, CONFIG)
    with pytest.raises(ValueError, match="backspace"):
        fit_language_model(drawn(4, 0), drawn(2, 1), ActionSpace(3, 6, backspace=True), CONFIG)


@pytest.mark.parametrize(
    "wrong", [{"hidden": 0}, {"dropout": 1.0}, {"held_out": 0.0}, {"lr": 0.0}, {"patience": 0}]
)
def test_options_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ValueError, match="language model"):
        LanguageModelConfig(**wrong)


def test_a_fit_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no pass has a finite likelihood, untrained weights would pass for a model."""
    nothing = Estimate(math.nan, math.nan, 20)
    monkeypatch.setattr("rubout.evaluation.features.nll", lambda *_: nothing)
    with pytest.raises(RuntimeError, match="diverged at a learning rate"):
        fit_language_model(drawn(20, 0), drawn(20, 1), SPACE, CONFIG)
