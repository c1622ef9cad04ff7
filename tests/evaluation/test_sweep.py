"""Sweeps: every temperature as if it were alone, and what they come to."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rubout.checks import random_logs
from rubout.evaluation.bleu import bleu, self_bleu
from rubout.evaluation.draws import draw
from rubout.evaluation.estimate import mean_of
from rubout.evaluation.nll import log_likelihoods, log_likelihoods_at, nll
from rubout.evaluation.quality import words
from rubout.evaluation.sweep import (
    ORACLE_MULTIPLIERS,
    Axis,
    SweepPoint,
    area,
    axes,
    summary,
    sweep,
)
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import survivors, written
from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.tasks.python_docs import PythonDocs
from rubout.types import ActionSpace

SMALL = OracleConfig(vocabulary=6, length=3, hidden=4, train=300, validation=20, test=300, seed=5)


def lstm(space: ActionSpace, spread: float = 0.5) -> LSTMPolicy:
    torch.manual_seed(0)
    return LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, init_std=spread))


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("backspace", [False, True])
def test_one_pass_scores_as_many(spread: float, *, backspace: bool) -> None:
    """Illegal actions, full tapes, prompts' lack, and logits far apart included."""
    space = ActionSpace(9, 5, backspace=backspace, forbid_redo=backspace)
    policy = lstm(space, spread)
    logs = random_logs(space, 40, seed=2)
    multipliers = [2.5, 0.1, 1.0, 0.7, 12.0, *ORACLE_MULTIPLIERS]
    found = log_likelihoods_at(policy, logs, multipliers)
    for place, multiplier in enumerate(multipliers):
        alone = log_likelihoods(policy, logs, temperature=1 / multiplier)
        torch.testing.assert_close(found[place], alone, rtol=1e-5, atol=1e-5)


def test_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = lstm(ActionSpace(9, 5))
    logs = random_logs(policy.space, 30, seed=2)
    whole = log_likelihoods_at(policy, logs, [0.5, 1.0])
    monkeypatch.setattr("rubout.evaluation.nll._ELEMENTS", {"cpu": 1})
    one_by_one = log_likelihoods_at(policy, logs, [0.5, 1.0])
    torch.testing.assert_close(one_by_one, whole, rtol=1e-6, atol=1e-6)


def test_dropout_is_off_and_training_goes_on() -> None:
    torch.manual_seed(0)
    policy = LSTMPolicy(ActionSpace(9, 5), LSTMConfig(embedding=6, hidden=7, dropout=0.5))
    policy.train()
    logs = random_logs(policy.space, 10, seed=2)
    first = log_likelihoods_at(policy, logs, [1.0])
    assert policy.training
    assert log_likelihoods_at(policy, logs, [1.0]).equal(first)


def test_a_multiplier_of_one_is_no_temperature() -> None:
    task = Oracle(SMALL)
    policy, test = lstm(task.space), task.split("test")
    done: list[int] = []
    points = sweep(policy, task, test, [0.5, 1.0, 2.0], 400, 3, done.append)
    assert done == [1, 2, 3]
    assert [point.multiplier for point in points] == [0.5, 1.0, 2.0]
    for point in points:  # a multiplier m is a temperature of 1 / m, in both figures
        temperature = 1 / point.multiplier
        scored = nll(policy, test, temperature=temperature)
        assert point.figures["nll_test"].mean == pytest.approx(scored.mean, rel=1e-6)
        drawn = draw(policy, 400, 3, temperature=temperature)
        text = written(task.space, survivors(task.space, drawn))
        assert point.figures["nll_oracle"] == nll(task.oracle(), text)


def test_sharpening_the_oracle_lowers_its_own_nll() -> None:
    task = Oracle(SMALL)
    points = sweep(task.oracle(), task, task.split("test"), [0.5, 1.0, 2.0], 400, 0)
    quality = [point.figures["nll_oracle"].mean for point in points]
    assert quality[0] > quality[1] > quality[2]
    assert min(points, key=lambda point: point.figures["nll_test"].mean).multiplier == 1.0


def test_text_is_read_by_bleu() -> None:
    task = PythonDocs(PythonDocs.Config())
    policy, test = lstm(task.space), task.split("test")[:50]
    (point,) = sweep(policy, task, test, [1.0], 30, 0)
    unknown = (task.codec.unknown_id,) if task.codec.unknown_id is not None else ()
    drawn = draw(policy, 30, 0, suppress=unknown)
    texts = [task.codec.decode(row).split() for row in survivors(policy.space, drawn).lists()]
    real = words(task.codec, survivors(task.space, test))
    assert point.figures["bleu-5"].mean == pytest.approx(bleu(texts, real)[5])
    assert point.figures["self-bleu-2"].mean == pytest.approx(self_bleu(texts)[2])
    quality, diversity = axes(task, test, 30, 0)
    assert (quality.figure, quality.higher, quality.worst) == ("bleu-5", True, 0.0)
    assert (diversity.figure, diversity.higher, diversity.worst) == ("self-bleu-5", False, 1.0)


def test_answers_are_read_by_the_task() -> None:
    task = Arithmetic(Arithmetic.Config(train=20, validation=5, test=20))
    (point,) = sweep(lstm(task.space), task, task.split("test"), [1.0], 10, 0)
    assert set(point.figures) == {"nll_test", "exact_match"}
    assert point.figures["exact_match"].count == 10
    quality, diversity = axes(task, task.split("test"), 10, 0)
    assert (quality.figure, quality.higher) == ("exact_match", True)
    assert diversity.figure == "nll_test"


def test_the_worst_is_knowing_nothing() -> None:
    task = Oracle(SMALL)
    quality, diversity = axes(task, task.split("test"), 100, 0)
    assert diversity.worst == pytest.approx(math.log(6), rel=1e-6)
    assert quality.worst > diversity.worst


def points_of(*rows: tuple[float, float, float]) -> list[SweepPoint]:
    return [
        SweepPoint(
            multiplier,
            {
                "nll_oracle": mean_of(torch.tensor([quality])),
                "nll_test": mean_of(torch.tensor([diversity])),
            },
        )
        for multiplier, quality, diversity in rows
    ]


def test_what_it_comes_to_by_hand() -> None:
    points = points_of((0.5, 8.0, 4.0), (1.0, 5.0, 3.0), (2.0, 2.0, 7.0))
    found = summary(points, Axis("nll_oracle", 10.0), Axis("nll_test", 9.0))
    assert found == {
        "best nll_oracle": {"value": 2.0, "multiplier": 2.0},
        "best nll_test": {"value": 3.0, "multiplier": 1.0},
        "best sum": {"value": 8.0, "multiplier": 1.0},
        "equal temperature": {"nll_oracle": 5.0, "nll_test": 3.0},
        # (10 - 2) (9 - 7) + (10 - 5) (7 - 3); the first point is worse than the second in both
        "area": 36.0,
    }


def test_higher_may_be_better() -> None:
    points = points_of((1.0, 0.25, 0.5), (2.0, 0.5, 0.75))
    found = summary(points, Axis("nll_oracle", 0.0, higher=True), Axis("nll_test", 1.0))
    assert found["best nll_oracle"] == {"value": 0.5, "multiplier": 2.0}
    assert found["area"] == pytest.approx(0.5 * 0.25 + 0.25 * 0.25)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6),
)
def test_the_area_is_the_number_of_cells(places: list[tuple[int, int]]) -> None:
    """Of a grid of unit cells, those that some point is better than in both, up to (10, 10)."""
    cells = sum(
        any(across >= quality and up >= diversity for quality, diversity in places)
        for across in range(10)
        for up in range(10)
    )
    points = [(float(quality), float(diversity)) for quality, diversity in places]
    assert area(points, (10.0, 10.0)) == pytest.approx(cells)


def test_the_multipliers_are_those_of_the_paper() -> None:
    assert len(ORACLE_MULTIPLIERS) == 80
    assert (ORACLE_MULTIPLIERS[0], ORACLE_MULTIPLIERS[-1]) == (0.1, 2.47)
    assert all(
        after - before == pytest.approx(0.03) for before, after in pairwise(ORACLE_MULTIPLIERS)
    )


def test_json_of_a_point() -> None:
    (point,) = points_of((2.0, 1.5, 2.5))
    value = point.to_json()
    assert (value["multiplier"], value["temperature"]) == (2.0, 0.5)
    assert value["nll_oracle"] == {"mean": 1.5, "standard_error": None, "count": 1}


def test_a_space_with_a_backspace_is_swept_too() -> None:
    task = Oracle(SMALL)
    policy = lstm(replace(task.space, backspace=True, max_actions=12))
    (point,) = sweep(policy, task, task.split("test"), [1.0], 20, 0)
    assert set(point.figures) == {"nll_test", "nll_oracle"}
