"""NLL against numbers worked out by hand, and its error against literal formulas."""

import math
from statistics import stdev

import pytest
import torch

from rubout.checks import random_logs
from rubout.evaluation.estimate import per_action
from rubout.evaluation.nll import log_likelihoods, nll
from rubout.evaluation.references import ConstantPolicy, uniform, unigram
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

PROBS = torch.tensor([0.5, 0.25, 0.25])  # tokens 0, 1 and <eos>


def test_by_hand() -> None:
    """On a full tape `<eos>` is all that is legal, so it costs nothing."""
    policy = ConstantPolicy(ActionSpace(2, 2), PROBS.log())
    text = written(policy.space, Sequences.of([[0, 1], [1], []]))
    totals = [math.log(2) + math.log(4), 2 * math.log(4), math.log(4)]
    found = -log_likelihoods(policy, text)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(totals, rel=1e-6)
    estimate = nll(policy, text)
    assert estimate.mean == pytest.approx(sum(totals) / (3 + 2 + 1), rel=1e-6)
    assert estimate.count == 3


def test_a_temperature_by_hand() -> None:
    """T = 1/2 squares the probabilities: 1/4, 1/16, 1/16 of 3/8."""
    policy = ConstantPolicy(ActionSpace(2, 2), PROBS.log())
    text = written(policy.space, Sequences.of([[0]]))
    expected = -(math.log(2 / 3) + math.log(1 / 6)) / 2
    assert nll(policy, text, temperature=0.5).mean == pytest.approx(expected, rel=1e-6)


def test_the_error_of_a_plain_mean() -> None:
    """Sequences of one length: the standard error of the mean of their means."""
    totals = torch.tensor([3.0, 5.0, 4.0, 9.0], dtype=torch.float64)
    found = per_action(totals, torch.full((4,), 2))
    means = [1.5, 2.5, 2.0, 4.5]
    assert found.mean == pytest.approx(sum(means) / 4)
    assert found.standard_error == pytest.approx(stdev(means) / 2)


def test_the_error_of_a_ratio() -> None:
    """The textbook's formula, term by term; the jackknife says nearly the same."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 9, (400,), generator=generator)
    totals = counts * 2.0 + torch.randn(400, generator=generator, dtype=torch.float64)
    found = per_action(totals, counts)
    ys, ns = totals.tolist(), counts.tolist()
    size, ratio = len(ys), sum(ys) / sum(ns)
    residuals = sum((y - ratio * n) ** 2 for y, n in zip(ys, ns, strict=True)) / (size - 1)
    assert found.mean == pytest.approx(ratio)
    assert found.standard_error == pytest.approx(math.sqrt(residuals / size) / (sum(ns) / size))
    without = [(sum(ys) - y) / (sum(ns) - n) for y, n in zip(ys, ns, strict=True)]
    middle = sum(without) / size
    jackknife = math.sqrt((size - 1) / size * sum((one - middle) ** 2 for one in without))
    assert found.standard_error == pytest.approx(jackknife, rel=0.02)


def test_a_single_sequence_has_no_error() -> None:
    assert per_action(torch.tensor([3.0], dtype=torch.float64), torch.tensor([2])).mean == 1.5


def test_batches_do_not_matter_and_dropout_is_off() -> None:
    torch.manual_seed(0)
    space = ActionSpace(5, 6, backspace=True)
    policy = LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, dropout=0.5, init_std=0.5))
    logs = random_logs(space, 11, 0)
    policy.train()
    whole = log_likelihoods(policy, logs)
    assert policy.training
    torch.testing.assert_close(log_likelihoods(policy, logs, batch_size=3), whole)
    scored = policy.eval().score(logs, {"log_probs"}).log_probs_BT
    assert scored is not None
    torch.testing.assert_close(whole, scored.detach().double().sum(1))


def test_uniform() -> None:
    """V + 1 choices while there is room, then none."""
    space = ActionSpace(7, 3)
    text = written(space, Sequences.of([[1, 2, 3], [4]]))
    expected = (3 * math.log(8) + 2 * math.log(8)) / 6
    assert nll(uniform(space), text).mean == pytest.approx(expected, rel=1e-6)
    full = ActionSpace(5000, 20, eos=False)
    tokens = torch.arange(40).view(2, 20)
    text = written(full, Sequences(tokens, torch.tensor([20, 20])))
    estimate = nll(uniform(full), text)
    assert estimate.mean == pytest.approx(math.log(5000), rel=1e-6)
    assert estimate.standard_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("backspace", [False, True])
def test_unigram(backspace: bool) -> None:
    """Counts with one added: token 0 four of 11, 1 two, 2 one, <eos> three and one more."""
    space = ActionSpace(3, 4)
    train = written(space, Sequences.of([[0, 0], [0, 1], []]))
    policy = unigram(ActionSpace(3, 4, backspace=backspace), train)
    expected = torch.tensor([4.0, 2.0, 1.0, 4.0]) / 11
    probs = policy.start(1).logits()[0].exp()
    torch.testing.assert_close(probs[:4], expected)
    assert not probs[4:].any() or float(probs[4]) < 1e-29
    found = nll(policy, written(space, Sequences.of([[0, 2]]))).mean
    assert found == pytest.approx(-(math.log(4 / 11) + math.log(1 / 11) + math.log(4 / 11)) / 3)
