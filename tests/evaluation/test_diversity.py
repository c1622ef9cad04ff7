"""Counts against numbers worked out by hand, and against their definitions written out slowly."""

import math
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.evaluation.diversity import (
    TITLES,
    copied,
    distinct,
    diversity,
    entropy,
    length_distance,
    nearly_copied,
    ngram_counts,
    repetition,
    unique,
    unrepeated,
    zipf_slope,
)
from rubout.evaluation.estimate import Estimate, mean_of

# Of three tokens, so that duplicates and near copies are common.
CORPUS = st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=6)


def words(*lines: str) -> list[list[str]]:
    return [line.split() for line in lines]


def grams(sentence: list, order: int) -> list[tuple]:
    return [tuple(sentence[i : i + order]) for i in range(len(sentence) - order + 1)]


@cache
def edits(one: tuple, other: tuple) -> int:
    """Levenshtein's distance, from the definition."""
    if not one or not other:
        return len(one) + len(other)
    swapped = edits(one[1:], other[1:]) + (one[0] != other[0])
    return min(swapped, edits(one[1:], other) + 1, edits(one, other[1:]) + 1)


def test_distinct_and_entropy_by_hand() -> None:
    """Six tokens, of a, b, c; the pairs are ab, ba, ab: none crosses from one to the next."""
    text = words("a b a", "a b", "c")
    assert ngram_counts(text, 1) == {("a",): 3, ("b",): 2, ("c",): 1}
    assert ngram_counts(text, 2) == {("a", "b"): 2, ("b", "a"): 1}
    assert distinct(text, 1) == 3 / 6
    assert distinct(text, 2) == 2 / 3
    assert distinct(text, 3) == 1
    expected = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert entropy(text, 2) == pytest.approx(expected, rel=1e-12)
    assert entropy(text, 3) == 0


@settings(deadline=None)
@given(CORPUS, st.integers(1, 4))
def test_distinct_and_entropy_as_defined(text: list[list[int]], order: int) -> None:
    every = [gram for sentence in text for gram in grams(sentence, order)]
    if not every:
        assert math.isnan(distinct(text, order))
        assert math.isnan(entropy(text, order))
        return
    shares = [count / len(every) for count in Counter(every).values()]
    assert distinct(text, order) == pytest.approx(len(set(every)) / len(every), rel=1e-12)
    expected = -sum(share * math.log(share) for share in shares)
    assert entropy(text, order) == pytest.approx(expected, abs=1e-12)


def test_uniform_entropy_and_the_least() -> None:
    """Four tokens alike: log 4; a single one: 0."""
    assert entropy(words("a b", "c d"), 1) == pytest.approx(math.log(4), rel=1e-12)
    assert entropy(words("a a", "a"), 1) == 0


def test_repetition_by_hand() -> None:
    """Pairs aa, aa, aa: two of three were there before; ab, ba, ab: one; too short: none."""
    text = words("a a a a", "a b a b", "a")
    found = repetition(text, 2)
    assert found.mean == pytest.approx((2 / 3 + 1 / 3 + 0) / 3, rel=1e-12)
    assert found.count == 3
    values = torch.tensor([2 / 3, 1 / 3, 0], dtype=torch.float64)
    assert found.standard_error == pytest.approx(mean_of(values).standard_error, rel=1e-12)
    assert repetition(text, 3).mean == pytest.approx((1 / 2 + 0 + 0) / 3, rel=1e-12)


def test_what_another_sentence_says_is_no_repetition() -> None:
    assert repetition(words("a b c", "a b c"), 2).mean == 0


def test_unrepeated_by_hand() -> None:
    """Five a's: 1 of 4 pairs, 1 of 3 triples and 1 of 2 quadruples are new."""
    text = words("a a a a a", "a b c d e")
    assert unrepeated(text).mean == pytest.approx((1 / 4 * 1 / 3 * 1 / 2 + 1) / 2, rel=1e-12)


def test_unique() -> None:
    assert unique(words("a b", "b a", "a b", "a")) == 3 / 4


def test_copies_by_hand() -> None:
    """A copy, a token less, one more, one other; two others, the same ones in another order."""
    train = words("a b c", "x y z w v")
    near = words("a b c", "a c", "a b b c", "a x c")
    far = words("x b x", "b a c", "c a b", "x y z", "x y z w v u t")
    assert copied(near + far, train).mean == pytest.approx(1 / 9)
    assert nearly_copied(near, train).mean == 1
    assert nearly_copied(far, train).mean == 0
    # Both are two tokens less one; yet two edits apart.
    assert nearly_copied(words("b c"), words("a b")).mean == 0
    assert nearly_copied([[]], words("a")).mean == nearly_copied(words("a"), [[]]).mean == 1
    assert nearly_copied([[]], words("a b")).mean == 0


@settings(max_examples=300, deadline=None)
@given(CORPUS, CORPUS)
def test_copies_as_defined(text: list[list[int]], train: list[list[int]]) -> None:
    least = [min(edits(tuple(one), tuple(other)) for other in train) for one in text]
    assert copied(text, train).mean == pytest.approx(least.count(0) / len(text))
    within = least.count(0) + least.count(1)
    assert nearly_copied(text, train).mean == pytest.approx(within / len(text))


def test_length_distance_by_hand() -> None:
    """Lengths 1, 1, 3 against 2: all move by one."""
    assert length_distance(words("a", "b", "a b c"), words("a b")) == pytest.approx(1)
    assert length_distance(words("a", "a b"), words("c", "b c", "c", "a b")) == 0
    assert length_distance(words("a"), [[]]) == 1


@settings(deadline=None)
@given(CORPUS, CORPUS)
def test_length_distance_as_defined(one: list[list[int]], other: list[list[int]]) -> None:
    """Sorted side by side, each as often as the other has sentences."""
    ours = sorted(len(sentence) for sentence in one for _ in other)
    theirs = sorted(len(sentence) for sentence in other for _ in one)
    expected = sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / len(ours)
    assert length_distance(one, other) == pytest.approx(expected, abs=1e-12)
    assert length_distance(other, one) == pytest.approx(expected, abs=1e-12)


def test_zipf_slope_of_a_power_law() -> None:
    """Frequencies 144 / rank^2, which are whole numbers."""
    text = [["a"] * 144, ["b"] * 36, ["c"] * 16, ["d"] * 9]
    assert zipf_slope(text) == pytest.approx(-2, rel=1e-12)
    # Tokens of lower ranks bend it, unless they do not count.
    tail = [*text, ["e"], ["f"]]
    assert zipf_slope(tail, ranks=4) == pytest.approx(-2, rel=1e-12)
    assert zipf_slope(tail) < -2.1


def test_zipf_slope_by_hand() -> None:
    """Two points: log(1/4) over log 2."""
    assert zipf_slope(words("a a a a b")) == pytest.approx(-2, rel=1e-12)
    assert zipf_slope(words("a b c")) == 0
    assert math.isnan(zipf_slope(words("a a")))


def test_all_at_once() -> None:
    text, real, train = words("a b c d", "a b"), words("a b c", "d"), words("a b", "c")
    found = diversity(text, real, train)
    assert list(found) == list(TITLES)
    assert found["distinct-2"] == distinct(text, 2)
    assert found["entropy-4"] == entropy(text, 4)
    assert found["seq-rep-3"] == repetition(text, 3)
    assert found["diversity"] == unrepeated(text)
    assert found["unique"] == 1
    assert found["copied"] == copied(text, train)
    assert found["nearly-copied"] == nearly_copied(text, train)
    assert found["length-distance"] == length_distance(text, real)
    assert found["zipf-slope"] == zipf_slope(text)
    assert {better for _, _, better in TITLES.values()} == {"low", "as data"}


def test_only_what_there_is() -> None:
    """Nothing of copies without training data; no 3-grams of two tokens."""
    found = diversity(words("a b", "a"))
    missing = ["distinct-3", "distinct-4", "entropy-3", "entropy-4"]
    missing += ["copied", "nearly-copied", "length-distance"]
    assert sorted(found) == sorted(TITLES.keys() - missing)
    assert [name for name, value in found.items() if isinstance(value, Estimate)] == [
        *("seq-rep-2", "seq-rep-3", "seq-rep-4", "diversity")
    ]
    assert "zipf-slope" not in diversity([["a"]])


@given(CORPUS.filter(lambda text: any(text)))
def test_ids_are_as_good_as_words(text: list[list[int]]) -> None:
    other = [[f"w{token}" for token in sentence] for sentence in text]
    assert diversity(text, text, text) == diversity(other, other, other)


def test_more_of_the_same_is_less_distinct() -> None:
    """Why corpora of different sizes cannot be compared."""
    text = words("a b c", "d e f")
    shares = [distinct(text * times, 2) for times in (1, 2, 3)]
    assert all(later < earlier for earlier, later in pairwise(shares))
    assert unique(text * 2) == 1 / 2


def test_what_cannot_be_counted() -> None:
    text = words("a b")
    for count in (unique, zipf_slope, unrepeated, diversity):
        with pytest.raises(ValueError, match="no sentences"):
            count([])
        with pytest.raises(TypeError, match="split"):
            count(["a b"])
        with pytest.raises(TypeError, match="tolist"):
            count(list(torch.zeros(2, 3)))  # type: ignore[arg-type]
    for compare in (copied, nearly_copied, length_distance):
        with pytest.raises(ValueError, match="no sentences"):
            compare(text, [])
        with pytest.raises(TypeError, match="split"):
            compare(text, ["a b"])
    for order in (0, -1):
        with pytest.raises(ValueError, match="at least one token"):
            distinct(text, order)
