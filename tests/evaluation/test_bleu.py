"""BLEU against its definition written out slowly, against hand-worked and known answers."""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.evaluation.bleu import (
    Jackknife,
    bleu,
    jackknife_self_bleu,
    self_bleu,
    sentence_bleu,
    sentence_self_bleu,
)
from rubout.evaluation.matches import stable_order
from rubout.evaluation.tokens import read_sentences, tokenizer

DATA = Path(__file__).parents[2].parent / "shared" / "data"
ORDERS = (1, 2, 3, 4, 5)
# Of two tokens, so that counts above one, duplicates and ties are common.
SENTENCES = st.lists(st.integers(0, 1), max_size=7).map(tuple)


@cache
def counts(sentence: tuple, order: int) -> Counter:
    return Counter(sentence[i : i + order] for i in range(len(sentence) - order + 1))


def slow_precision(sentence: tuple, references: Sequence[tuple], order: int) -> float:
    matches = 0
    for ngram, count in counts(sentence, order).items():
        matches += min(count, max(counts(one, order).get(ngram, 0) for one in references))
    if matches == 0:
        return 0.0 if order == 1 else 0.1 / max(1, counts(sentence, order).total())
    return matches / counts(sentence, order).total()


def slow_bleu(sentence: tuple, references: Sequence[tuple]) -> list[float]:
    """BLEU of order 1 to 5, from the definition; the lengths are sorted to prefer the shorter."""
    if not sentence:
        return [0.0] * 5
    closest = min(sorted(map(len, references)), key=lambda length: abs(length - len(sentence)))
    penalty = 1.0 if len(sentence) > closest else math.exp(1 - closest / len(sentence))
    precisions = [slow_precision(sentence, references, order) for order in ORDERS]
    return [penalty * math.prod(precisions[:order]) ** (1 / order) for order in ORDERS]


def others(sentences: Sequence[tuple], index: int) -> list[tuple]:
    return [*sentences[:index], *sentences[index + 1 :]]


def words(*lines: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in lines]


def near(values: Sequence[Sequence[float]]) -> object:
    return pytest.approx(torch.tensor(values, dtype=torch.float64).numpy(), abs=1e-9, rel=1e-9)


def close(values: Sequence[Sequence[float]]) -> object:
    return pytest.approx(torch.tensor(values, dtype=torch.float64).numpy(), abs=1e-12, rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=4), st.lists(SENTENCES, min_size=1, max_size=5))
def test_bleu_is_as_defined(hypotheses: list[tuple], references: list[tuple]) -> None:
    expected = [slow_bleu(sentence, references) for sentence in hypotheses]
    assert sentence_bleu(hypotheses, references, ORDERS).numpy() == close(expected)


@settings(max_examples=300, deadline=None)
@given(st.lists(SENTENCES, min_size=2, max_size=6))
def test_self_bleu_is_as_defined(sentences: list[tuple]) -> None:
    expected = [slow_bleu(one, others(sentences, i)) for i, one in enumerate(sentences)]
    assert sentence_self_bleu(sentences, ORDERS).numpy() == close(expected)


def test_papineni() -> None:
    """The first example of the paper; the scores are those of NLTK's documentation."""
    hypothesis = words(
        "It is a guide to action which ensures that the military always obeys the commands of "
        "the party"
    )
    references = words(
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the "
        "command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    )
    found = bleu(hypothesis, references, ORDERS)
    assert found[1] == pytest.approx(17 / 18)
    assert found[2] == pytest.approx(math.sqrt(17 / 18 * 10 / 17))
    published = {2: 0.7453, 3: 0.6240, 4: 0.5045, 5: 0.3920}
    assert {order: math.floor(found[order] * 1e4) / 1e4 for order in published} == published


def test_an_ngram_counts_no_more_often_than_in_one_reference() -> None:
    """The second example of the paper, 2/7; no pair matches, so that 0.1 of six do."""
    references = words("the cat is on the mat", "there is a cat on the mat")
    found = bleu(words("the the the the the the the"), references, (1, 2))
    assert found[1] == pytest.approx(2 / 7)
    assert found[2] == pytest.approx(math.sqrt(2 / 7 * 0.1 / 6))
    assert bleu(words("a a"), words("a b", "b a"), (1,))[1] == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("lengths", "closest"),
    [([3, 5], 3), ([5, 3], 3), ([5], 5), ([1, 5], 5), ([7, 6], 6), ([4], 4), ([2, 9, 4], 4)],
)
def test_the_penalty_of_a_short_sentence(lengths: list[int], closest: int) -> None:
    """Four tokens that all match: what is left is the penalty; of two as close, the shorter."""
    references = [tuple(range(length)) for length in lengths]
    found = sentence_bleu([(0, 1, 2, 3)], references, (1, 2, 3, 4))
    assert found.numpy() == close([[min(1.0, math.exp(1 - closest / 4))] * 4])


def test_short_and_empty_sentences() -> None:
    """A single token has no pairs: 0.1 of one matches."""
    found = sentence_bleu([("a",), (), ("z", "z")], [("a",), ()], (1, 2))
    assert found.dtype == torch.float64
    assert found.numpy() == close([[1, math.sqrt(0.1)], [0, 0], [0, 0]])
    assert bleu([("a",)], [()], (1,)) == {1: 0.0}


def test_self_bleu_by_hand() -> None:
    """Each has twice what the others have once; only the middle one matches in full."""
    found = sentence_self_bleu(words("a a", "a b", "b b"), (1,))
    assert found.numpy() == close([[1 / 2], [1], [1 / 2]])


def test_a_duplicate_is_a_reference() -> None:
    assert self_bleu(words("a b", "c d", "a b"), (2,))[2] == pytest.approx(2 / 3)
    assert self_bleu(words("a a", "a a", "a a"), (1, 2)) == pytest.approx({1: 1, 2: 1})


def test_a_sentence_own_length_is_left_out() -> None:
    """Two tokens, where the closest other has three; and three, where it has two."""
    found = sentence_self_bleu(words("a b", "a b c", "a b c d e"), (1,))
    assert found.numpy() == close([[math.exp(1 - 3 / 2)], [1], [3 / 5]])


def test_means_by_order() -> None:
    """The orders are those asked for, in that order, and do not bear upon each other."""
    sentences = words("a b c a", "b c a", "a b", "c")
    for table, means in (
        (sentence_bleu(sentences, words("a b c"), (3, 1)), bleu(sentences, words("a b c"), (3, 1))),
        (sentence_self_bleu(sentences, (3, 1)), self_bleu(sentences, (3, 1))),
    ):
        assert list(means) == [3, 1]
        assert list(means.values()) == pytest.approx(table.mean(0).tolist())
    assert self_bleu(sentences, (1,))[1] == self_bleu(sentences, (3, 1))[1]
    assert list(self_bleu(sentences)) == [2, 3, 4, 5]


def test_what_cannot_be_scored() -> None:
    text = words("a b")
    with pytest.raises(ValueError, match="not 0 and 1"):
        bleu([], text)
    with pytest.raises(ValueError, match="not 1 and 0"):
        bleu(text, [])
    with pytest.raises(ValueError, match="2 reference"):
        self_bleu(text)
    for orders in ((), (0, 2)):
        with pytest.raises(ValueError, match="orders"):
            bleu(text, text, orders)
    with pytest.raises(TypeError, match="split"):
        bleu(["a b"], text)
    with pytest.raises(TypeError, match="tolist"):
        bleu(text, list(torch.zeros(2, 3)))  # type: ignore[arg-type]


def drawn(seed: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Two hypotheses and up to five references, now and then empty, or with nothing in common."""
    source = random.Random(seed)
    tokens = source.randint(1, 6)

    def sentence(first: int) -> tuple[int, ...]:
        return tuple(source.randint(first, first + tokens) for _ in range(source.randint(0, 9)))

    return [sentence(0), sentence(3)], [sentence(0) for _ in range(source.randint(1, 5))]


def test_500_random_cases_are_those_of_nltk() -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    method = nltk.SmoothingFunction().method1

    def scores(sentence: tuple, references: Sequence[tuple]) -> list[float]:
        return [
            nltk.sentence_bleu(references, sentence, [1 / order] * order, smoothing_function=method)
            for order in ORDERS
        ]

    empty = unmatched = short = 0
    for seed in range(500):
        hypotheses, references = drawn(seed)
        expected = [scores(one, references) for one in hypotheses]
        assert sentence_bleu(hypotheses, references, ORDERS).numpy() == near(expected)
        both = [*hypotheses, *references]
        expected = [scores(one, others(both, index)) for index, one in enumerate(both)]
        assert sentence_self_bleu(both, ORDERS).numpy() == near(expected)
        empty += () in hypotheses
        unmatched += 0 in expected[0]
        short += any(0 < len(one) < 5 for one in hypotheses)
    assert min(empty, unmatched, short) >= 50


def test_sacrebleu_agrees() -> None:
    """With method 1 as its "floor", the closest length included; shorter sentences are apart.

    For those of fewer tokens than the order sacrebleu leaves out the orders they do not have
    (effective order), or scores 0.
    """
    metrics = pytest.importorskip("sacrebleu.metrics")
    options = {"tokenize": "none", "smooth_method": "floor", "smooth_value": 0.1}
    full = 0
    for seed in range(100):
        hypotheses, references = drawn(seed)
        lines = [" ".join(map(str, one)) for one in references]
        found = sentence_bleu(hypotheses, references, ORDERS).tolist()
        for sentence, scores in zip(hypotheses, found, strict=True):
            for order in ORDERS:
                metric = metrics.BLEU(**options, max_ngram_order=order, effective_order=True)
                theirs = metric.sentence_score(" ".join(map(str, sentence)), lines).score / 100
                possible = max(1, min(order, len(sentence)))
                assert theirs == pytest.approx(scores[possible - 1], abs=1e-9)
                full += possible == order and theirs > 0
    assert full > 100


def test_tokens_of_any_kind() -> None:
    """Only which of them are equal bears upon the scores."""
    text = words("a b a c", "b a c", "c c a b")
    for name in ({"a": 7, "b": 0, "c": -1}, {"a": (1, 2), "b": None, "c": "c"}):
        renamed = [[name[token] for token in sentence] for sentence in text]
        assert torch.equal(sentence_self_bleu(renamed), sentence_self_bleu(text))
        found = sentence_bleu(renamed[:2], renamed[1:])
        assert torch.equal(found, sentence_bleu(text[:2], text[1:]))


def test_orders_beyond_every_sentence() -> None:
    """Of the 40 orders only the first three have matches; the rest count 0.1 of one."""
    expected = math.exp(37 * math.log(0.1) / 40)
    assert bleu(words("a b c"), words("a b c"), (40,))[40] == pytest.approx(expected, rel=1e-12)
    assert sentence_self_bleu([(), ()]).tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("largest", [3, 2**40, 2**62])
def test_stable_order(largest: int) -> None:
    """Of keys that leave room for their places in 64 bits, and of keys that do not."""
    keys = np.random.default_rng(0).integers(0, 4, 1000) * (largest // 3)
    order, ordered = stable_order(keys)
    assert order.tolist() == sorted(range(1000), key=lambda place: keys[place])
    assert ordered.tolist() == sorted(keys.tolist())


def test_jackknife_by_hand() -> None:
    """As many groups as sentences: each is left out once, whatever the seed."""
    sentences = words("a b c a", "b c a", "a b", "c a b", "b b")
    without = [self_bleu(others(sentences, index), (1, 2)) for index in range(5)]
    found = jackknife_self_bleu(sentences, (1, 2))
    assert list(found) == [1, 2]
    for order, figure in found.items():
        values = [one[order] for one in without]
        variance = 4 / 5 * sum((value - fmean(values)) ** 2 for value in values)
        assert figure.groups == 5
        assert figure.mean == pytest.approx(self_bleu(sentences, (order,))[order], rel=1e-12)
        assert figure.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_jackknife_groups() -> None:
    """Seven sentences in three groups: each comes in one of them, of two or three."""
    sentences = words("a b", "a c", "b c", "c a b", "a", "b a", "c c")
    figures = {
        seed: jackknife_self_bleu(sentences, (2,), groups=3, seed=seed)[2] for seed in (0, 1)
    }
    possible = set()
    for first in combinations(range(7), 3):
        for second in combinations(sorted({*range(7)} - {*first}), 2):
            groups = [first, second, tuple({*range(7)} - {*first} - {*second})]
            kept = [[s for i, s in enumerate(sentences) if i not in group] for group in groups]
            values = [self_bleu(some, (2,))[2] for some in kept]
            mean = fmean(values)
            possible.add(round(math.sqrt(2 / 3 * sum((value - mean) ** 2 for value in values)), 10))
    assert {round(figure.standard_error, 10) for figure in figures.values()} <= possible
    assert figures[0].standard_error != figures[1].standard_error
    assert jackknife_self_bleu(sentences, (2,), groups=3, seed=1)[2] == figures[1]


def test_the_interval_of_a_jackknife() -> None:
    """Student's t of nine degrees of freedom is 2.262; a figure is between 0 and 1."""
    assert Jackknife(0.5, 0.01, 10).interval() == pytest.approx((0.47738, 0.52262), abs=1e-5)
    assert Jackknife(0.99, 0.01, 10).interval() == pytest.approx((0.96738, 1.0), abs=1e-5)
    assert Jackknife(0.01, 0.01, 10).interval(0.9) == pytest.approx((0.0, 0.02833), abs=1e-5)


def test_the_jackknife_error_is_that_of_the_figure() -> None:
    """Beside the spread of Self-BLEU over 150 independent corpora: no smaller, not much larger."""
    source = np.random.default_rng(0)
    means, variances = [], []
    for seed in range(150):
        lengths = source.integers(2, 9, 80)
        sentences = [np.minimum(source.zipf(1.5, length), 50).tolist() for length in lengths]
        figure = jackknife_self_bleu(sentences, (2,), seed=seed)[2]
        means.append(figure.mean)
        variances.append(figure.standard_error**2)
    assert 0.9 < math.sqrt(fmean(variances)) / stdev(means) < 1.5


def test_what_has_no_jackknife() -> None:
    text = words("a b", "a c", "b c")
    assert jackknife_self_bleu(text, groups=3)[2].groups == 3
    for groups, match in ((1, "1 groups"), (0, "0 groups"), (2, "leave no two")):
        with pytest.raises(ValueError, match=match):
            jackknife_self_bleu(text, groups=groups)
    with pytest.raises(ValueError, match="3 reference"):
        jackknife_self_bleu(text[:2])


def data(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the reference file {path} is not on this machine")
    return path


def captions(name: str) -> list[tuple[str, ...]]:
    """Punctuation set apart as NLTK's tokenizer does, but for some 40 lines of 10,000."""
    lines = data(name).read_text(encoding="utf-8").lower().splitlines()
    return words(*(re.sub(r"(\.$|[,;:?!()]|'s\b)", r" \1 ", line.strip()) for line in lines))


def test_real_captions_are_as_defined() -> None:
    hypotheses = captions("texygen_samples/mle.txt")[:200]
    references = captions("image_coco_test.txt")[:500]
    expected = [slow_bleu(sentence, references) for sentence in hypotheses]
    assert sentence_bleu(hypotheses, references, ORDERS).numpy() == close(expected)
    expected = [slow_bleu(one, others(hypotheses, i)) for i, one in enumerate(hypotheses)]
    assert sentence_self_bleu(hypotheses, ORDERS).numpy() == close(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mle",
            {
                "test": [0.7314, 0.4974, 0.3054, 0.1894],
                "train": [0.9209, 0.7676, 0.5702, 0.3916],
                "self": [0.9159, 0.7694, 0.5829, 0.4090],
            },
        ),
        (
            "leakgan",
            {
                "test": [0.7457, 0.5279, 0.3550, 0.2300],
                "train": [0.9257, 0.8165, 0.6598, 0.4701],
                "self": [0.9662, 0.9133, 0.8486, 0.7804],
            },
        ),
    ],
)
def test_the_published_samples(name: str, expected: dict[str, list[float]]) -> None:
    """Texygen's own samples, 9,984 against 10,000: the figures of NLTK's tokens and BLEU.

    Those that Texygen publishes differ from these by up to 0.0015.
    """
    pytest.importorskip("nltk")
    samples, test, train = (
        read_sentences(data(file), tokenizer("nltk"), lowercase=True).sentences
        for file in (f"texygen_samples/{name}.txt", "image_coco_test.txt", "image_coco_train.txt")
    )
    assert (len(samples), len(test), len(train)) == (9984, 10_000, 10_000)
    found = {"test": bleu(samples, test), "train": bleu(samples, train), "self": self_bleu(samples)}
    assert {of: list(figures.values()) for of, figures in found.items()} == {
        of: pytest.approx(figures, abs=5.1e-5) for of, figures in expected.items()
    }
