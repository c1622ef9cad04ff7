"""What a search refuses to be."""

import math

import pytest

from rubout.search import Choice, Integer, LogUniform, PopulationBased, Search, Uniform


@pytest.mark.parametrize("kind", [Uniform, LogUniform, Integer])
@pytest.mark.parametrize(("low", "high"), [(2, 1), (1, 1), (1, math.inf), (math.nan, 1)])
def test_a_range_goes_up(kind: type, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="to a larger one"):
        kind(low, high)


def test_a_logarithm_is_of_what_is_positive() -> None:
    with pytest.raises(ValueError, match="begins above 0"):
        LogUniform(0.0, 1.0)


def test_a_choice_is_between_two() -> None:
    with pytest.raises(ValueError, match="two values"):
        Choice((1, 1))


def test_the_ends_of_domains() -> None:
    assert Uniform(0.5, 1).ends() == (0.5, 1)
    assert Integer(2, 9).ends() == (2, 9)
    assert Choice(("a", "b", "c")).ends() == ("a", "b", "c")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"space": {}}, "empty"),
        ({"num_samples": 0}, "at least 1"),
        ({"searcher": "optuna", "scheduler": PopulationBased()}, "proposes options itself"),
        ({"space": {"rollout-workers": Choice((1, 2))}}, "rollout-workers cannot be searched"),
        ({"space": {"updates": Integer(1, 2)}}, "updates cannot be searched"),
    ],
)
def test_a_search_that_cannot_be(options: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Search(**{"base": {}, "space": {"learner.lr": Uniform(0, 1)}, **options})
