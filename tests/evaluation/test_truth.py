"""Divergences from the truth against sums over all sequences of a small world."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from rubout.evaluation import truth
from rubout.evaluation.draws import draw
from rubout.evaluation.nll import log_likelihoods, nll
from rubout.evaluation.references import uniform
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import written
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.types import Sequences, Trajectories

SMALL = OracleConfig(vocabulary=4, length=3, hidden=4, train=30, validation=20, test=4000, seed=5)
FIGURES = ("nll_oracle", "entropy", "kl_forward", "kl_reverse", "jsd")


@pytest.fixture(name="task")
def _task() -> Oracle:
    return Oracle(SMALL)


def lstm(task: Oracle, *, backspace: bool = False) -> LSTMPolicy:
    torch.manual_seed(1)
    space = replace(task.space, backspace=backspace)
    return LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, init_std=0.7))


def everything(task: Oracle) -> Trajectories:
    every = torch.tensor(list(itertools.product(range(4), repeat=3)))
    return written(task.space, Sequences(every, torch.full((64,), 3)))


def exact(task: Oracle, policy: LSTMPolicy, temperature: float) -> dict[str, float]:
    """From the probabilities of all 64 sequences; per action but the JSD."""
    p = log_likelihoods(task.oracle(), everything(task))
    g = log_likelihoods(policy, everything(task), temperature=temperature)
    mixture = ((p.exp() + g.exp()) / 2).log()
    jsd = (p.exp() * (p - mixture) + g.exp() * (g - mixture)).sum() / 2
    return {
        "nll_oracle": -float((g.exp() * p).sum()) / 3,
        "entropy": -float((g.exp() * g).sum()) / 3,
        "kl_forward": float((p.exp() * (p - g)).sum()) / 3,
        "kl_reverse": float((g.exp() * (g - p)).sum()) / 3,
        "jsd": float(jsd),
    }


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_against_sums_over_all_sequences(task: Oracle, temperature: float) -> None:
    policy = lstm(task)
    drawn = draw(policy, 4000, 0, temperature=temperature)
    found = truth.figures(policy, task.oracle(), drawn, task.split("test"), temperature)
    assert set(found) == set(truth.TITLES) == set(FIGURES)
    expected = exact(task, policy, temperature)
    for name, estimate in found.items():
        assert abs(estimate.mean - expected[name]) < 4 * estimate.standard_error
        assert 0 < estimate.standard_error < 0.03


def test_of_a_weighted_world_it_is_the_sum(task: Oracle) -> None:
    """Each sequence as often as it is probable: the means are the sums, without any chance."""
    policy = uniform(task.space)
    drawn = everything(task)  # of which each is as probable as any other
    chances = torch.full((64, 3), math.log(1 / 4))
    found = truth.figures(policy, task.oracle(), replace(drawn, log_probs_BT=chances), drawn)
    p = log_likelihoods(task.oracle(), drawn)
    g = math.log(1 / 64)
    mixture = ((p.exp() + math.exp(g)) / 2).log()
    assert found["entropy"].mean == pytest.approx(math.log(4), rel=1e-6)
    assert found["nll_oracle"].mean == pytest.approx(-float(p.mean()) / 3, rel=1e-6)
    assert found["kl_reverse"].mean == pytest.approx((g - float(p.mean())) / 3, rel=1e-6)
    assert found["kl_forward"].mean == pytest.approx((float(p.mean()) - g) / 3, rel=1e-6)
    jsd = float((p - mixture).mean() + (g - mixture).mean()) / 2
    assert found["jsd"].mean == pytest.approx(jsd, rel=1e-5)


def test_the_truth_is_at_no_distance(task: Oracle) -> None:
    oracle = task.oracle()
    found = truth.figures(oracle, oracle, draw(oracle, 500, 0), task.split("test"))
    for name in ("kl_forward", "kl_reverse", "jsd"):
        assert found[name].mean == pytest.approx(0, abs=1e-6)


def test_the_jsd_of_what_never_meets_is_log_2(task: Oracle) -> None:
    """Sequences that the other finds impossible: each tells at once where it comes from."""
    far = torch.full((64, 3), 0.0)
    drawn = replace(everything(task), log_probs_BT=far)  # surely typed, improbable under p
    found = truth.figures(uniform(task.space), task.oracle(), drawn, drawn)
    assert found["jsd"].mean < math.log(2)
    assert found["kl_reverse"].mean == pytest.approx(found["nll_oracle"].mean)


def test_kl_and_nll_say_the_same(task: Oracle) -> None:
    """KL(G||p) = NLL_oracle - H(G); KL(p||G) = NLL_test - H(p)."""
    policy = lstm(task)
    test = task.split("test")
    found = truth.figures(policy, task.oracle(), draw(policy, 300, 0), test)
    reverse = found["nll_oracle"].mean - found["entropy"].mean
    forward = nll(policy, test).mean - nll(task.oracle(), test).mean
    assert found["kl_reverse"].mean == pytest.approx(reverse)
    assert found["kl_forward"].mean == pytest.approx(forward)


def test_a_backspace_leaves_nll_oracle_alone(task: Oracle) -> None:
    policy = lstm(task, backspace=True)
    found = truth.figures(policy, task.oracle(), draw(policy, 50, 0), task.split("test"))
    assert set(found) == {"nll_oracle"}
