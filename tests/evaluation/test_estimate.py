"""Errors and intervals against textbook values, literal resampling, and each other."""

import json
import math
from statistics import NormalDist, stdev

import pytest
import torch

from rubout.evaluation.estimate import (
    Estimate,
    Ratio,
    difference,
    mean_of,
    over_seeds,
    per_action,
    student_t,
)


def normal(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("freedom", "level", "expected"),
    [  # tables of Student's t, two-sided
        (1, 0.95, 12.7062),
        (2, 0.95, 4.3027),
        (3, 0.95, 3.1824),
        (4, 0.95, 2.7764),
        (9, 0.95, 2.2622),
        (30, 0.95, 2.0423),
        (1, 0.5, 1.0),
        (4, 0.99, 4.6041),
        (5, 0.99, 4.0321),
    ],
)
def test_student(freedom: int, level: float, expected: float) -> None:
    assert student_t(freedom, level) == pytest.approx(expected, abs=5e-5)


def test_student_of_many_is_normal() -> None:
    assert student_t(10_001) == pytest.approx(NormalDist().inv_cdf(0.975), rel=2e-4)


def test_seeds() -> None:
    values = [1.0, 2.0, 4.0]
    found = over_seeds(values)
    assert found.mean == pytest.approx(7 / 3)
    assert found.half == pytest.approx(4.3027 * stdev(values) / math.sqrt(3), rel=1e-4)
    assert str(over_seeds([2.5])) == "2.500"
    assert over_seeds([2.5]).half is None


def test_a_mean_and_its_error() -> None:
    values = normal(50, 0)
    found = mean_of(values)
    assert found.mean == pytest.approx(float(values.mean()))
    assert found.standard_error == pytest.approx(stdev(values.tolist()) / math.sqrt(50))
    assert found.count == 50


def test_the_bootstrap_resamples_sequences() -> None:
    """The quantiles of figures recomputed from resampled sequences, one by one."""
    totals, counts = normal(7, 1), torch.tensor([1.0, 2, 3, 4, 5, 6, 7], dtype=torch.float64)
    found = per_action(totals, counts)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(7, (1000, 7), generator=generator).tolist()
    values = [
        sum(float(totals[place]) for place in row) / sum(float(counts[place]) for place in row)
        for row in drawn
    ]
    assert found.resampled().tolist() == pytest.approx(values)
    low, high = found.interval()
    values.sort()
    assert values[24] <= low <= values[25]
    assert values[974] <= high <= values[975]
    assert found.interval(level=0.5)[0] > low


def test_interval_and_error_agree_on_many_sequences() -> None:
    found = mean_of(normal(5000, 2) * 3 + 1)
    low, high = found.interval()
    assert low == pytest.approx(found.mean - 1.96 * found.standard_error, abs=0.006)
    assert high == pytest.approx(found.mean + 1.96 * found.standard_error, abs=0.006)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 intervals at 95% the number that miss is binomial: more than 22 has odds of 1e-3."""
    missed = 0
    for seed in range(200):
        low, high = mean_of(normal(100, 100 + seed)).interval()
        missed += not low <= 0 <= high
    assert 1 <= missed <= 22


def test_independent_samples_add_their_variances() -> None:
    ones, others = normal(40, 3), normal(90, 4)
    one, other = mean_of(ones), mean_of(others)
    both = Estimate.of(one.samples[0], other.samples[0])
    assert both.mean == pytest.approx(one.mean + other.mean)
    assert both.standard_error == pytest.approx(
        math.hypot(one.standard_error, other.standard_error)
    )
    assert both.sizes == [40, 90]
    spread = float(both.resampled().std())
    assert spread == pytest.approx(both.standard_error, rel=0.1)


def test_a_paired_difference_is_that_of_the_differences() -> None:
    ones = normal(60, 5)
    others = ones + 0.1 * normal(60, 6)  # nearly the same: their difference is well known
    paired = difference(mean_of(ones), mean_of(others))
    literal = mean_of(ones - others)
    assert paired.mean == pytest.approx(literal.mean)
    assert paired.standard_error == pytest.approx(literal.standard_error)
    assert paired.interval() == pytest.approx(literal.interval())
    assert paired.standard_error < 0.2 * mean_of(ones).standard_error


def test_a_difference_with_itself_is_nothing() -> None:
    one = per_action(normal(20, 7), torch.arange(1, 21))
    found = difference(one, one)
    assert found.mean == 0
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    assert found.interval() == pytest.approx((0, 0), abs=1e-12)


def test_figures_of_other_sequences_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"\[3\] and \[4\]"):
        difference(mean_of(normal(3, 0)), mean_of(normal(4, 0)))


def test_weights() -> None:
    values = normal(9, 8)
    half = Estimate.of((Ratio(values, torch.ones(9, dtype=torch.float64), 0.5),))
    assert half.mean == pytest.approx(0.5 * mean_of(values).mean)
    assert half.standard_error == pytest.approx(0.5 * mean_of(values).standard_error)


def test_json_has_no_infinities() -> None:
    """A single sequence has no error; JSON has no infinity."""
    alone = mean_of(torch.tensor([2.0]))
    assert alone.standard_error == math.inf
    value = alone.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == {
        "mean": 2.0,
        "standard_error": None,
        "low": 2.0,
        "high": 2.0,
        "count": 1,
    }
    assert set(alone.to_json(interval=False)) == {"mean", "standard_error", "count"}
