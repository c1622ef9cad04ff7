"""The table, its paired differences, and samples as records."""

from dataclasses import replace

import pytest
import torch

from rubout.evaluation import truth
from rubout.evaluation.backspaces import TITLES
from rubout.evaluation.draws import continuations, draw, head, sample_records
from rubout.evaluation.evaluate import evaluate, paired
from rubout.evaluation.references import ConstantPolicy, uniform
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import survivors
from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.codecs import IdsCodec
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.types import ActionSpace, Trajectories

SMALL = OracleConfig(vocabulary=6, length=3, hidden=4, train=300, validation=20, test=300, seed=5)


def lstm(space: ActionSpace) -> LSTMPolicy:
    torch.manual_seed(0)
    return LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, init_std=0.5))


def test_the_rows_of_the_oracle_task() -> None:
    task = Oracle(SMALL)
    backspacing = lstm(replace(task.space, backspace=True, max_actions=20))
    rows = {row.name: row.figures for row in evaluate(backspacing, task, num_samples=50)}
    assert list(rows) == ["model", "oracle", "unigram", "uniform"]
    for name, figures in rows.items():
        own = {"nll_oracle", *TITLES} if name == "model" else set(truth.TITLES)
        assert set(figures) == {"nll_test"} | own
        assert figures["nll_test"].count == 300
    best = min(rows, key=lambda name: rows[name]["nll_test"].mean)
    assert best == "oracle"
    assert rows["uniform"]["nll_test"].mean == pytest.approx(1.791759, rel=1e-5)
    few = evaluate(backspacing, task, num_samples=50, max_sequences=7)
    assert {row.figures["nll_test"].count for row in few} == {7}
    assert few[0].to_json()["nll_test"]["count"] == 7


def test_differences_are_paired() -> None:
    """Of a policy and itself nothing is left, whatever the samples; the oracle is better."""
    task = Oracle(SMALL)
    policy = lstm(task.space)
    rows = evaluate(
        policy, task, 50, baselines={"itself": policy, "oracle": task.oracle()}, references=False
    )
    assert [row.name for row in rows] == ["model", "itself", "oracle"]
    found = paired(rows)
    assert set(found) == {"itself", "oracle"}
    for estimate in found["itself"].values():
        assert (estimate.mean, estimate.standard_error) == (0, 0)
    better = found["oracle"]["nll_test"]
    expected = rows[0].figures["nll_test"].mean - rows[2].figures["nll_test"].mean
    assert better.mean == pytest.approx(expected)
    assert better.interval()[0] > 0
    assert better.standard_error > 0


def test_what_is_made_of_other_sequences_is_not_paired() -> None:
    """A key that one policy has not, and runs of deletions that only some sequences have."""
    task = Oracle(SMALL)
    plain = lstm(task.space)
    backspacing = lstm(replace(task.space, backspace=True, max_actions=20))
    rows = evaluate(backspacing, task, 50, baselines={"plain": plain}, references=False)
    assert set(paired(rows)["plain"]) == {"nll_test", "nll_oracle"}


def test_the_rows_of_a_task_with_answers() -> None:
    task = Arithmetic(Arithmetic.Config(train=20, validation=5, test=20))
    rows = evaluate(uniform(task.space), task, num_samples=10)
    assert [row.name for row in rows] == ["model", "unigram", "uniform"]
    assert rows[0].figures["exact_match"].mean == 0
    test = task.split("test")
    answers = continuations(task, test)
    assert answers.lists() == task.answers("test").lists()
    assert task.score(test, answers)["exact_match"].eq(1).all()


def test_draws_are_the_same_for_the_same_seed() -> None:
    policy = lstm(ActionSpace(5, 6, backspace=True))
    first = draw(policy, 300, 1)  # more than one batch
    assert len(first) == 300
    assert first.actions_BT.equal(draw(policy, 300, 1).actions_BT)
    texts = survivors(policy.space, first).lists()
    assert texts != survivors(policy.space, draw(policy, 300, 2)).lists()
    fewer = draw(policy, 99, 1)
    width = fewer.actions_BT.shape[1]
    assert fewer.actions_BT.equal(first.actions_BT[:99, :width])
    assert len(head(first, 7)) == 7
    assert head(first, 0) is first


def test_records() -> None:
    space = ActionSpace(5, 6, backspace=True)
    policy = ConstantPolicy(space, torch.zeros(space.size))
    back = space.backspace_id
    drawn = Trajectories(
        actions_BT=torch.tensor([[3, 4, back, 1, space.eos_id], [2, 0, 0, 0, 0]]),
        log_probs_BT=torch.tensor([[-1.0, -0.5, -0.25, -0.125, -2.0], [-3.0, 9.0, 9.0, 9.0, 9.0]]),
        num_actions_B=torch.tensor([5, 1]),
        terminated_B=torch.tensor([True, False]),
        policy_version_B=torch.tensor([0, 0]),
    )
    assert sample_records(policy, IdsCodec(5), drawn) == [
        {
            "text": "3 1",
            "log_prob": -3.875,
            "terminated": True,
            "actions": [3, 4, back, 1, space.eos_id],
        },
        {"text": "2", "log_prob": -3.0, "terminated": False, "actions": [2]},
    ]
