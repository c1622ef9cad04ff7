"""BLEU against its definition written out slowly, against hand-worked and known answers."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.evaluation.bleu import bleu, self_bleu, sentence_bleu, sentence_self_bleu

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


def captions(name: str) -> list[tuple[str, ...]]:
    """Punctuation set apart as NLTK's tokenizer does, but for some 40 lines of 10,000."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the reference file {path} is not on this machine")
    lines = path.read_text(encoding="utf-8").lower().splitlines()
    return words(*(re.sub(r"(\.$|[,;:?!()]|'s\b)", r" \1 ", line.strip()) for line in lines))


def test_real_captions_are_as_defined() -> None:
    hypotheses = captions("texygen_samples/mle.txt")[:200]
    references = captions("image_coco_test.txt")[:500]
    expected = [slow_bleu(sentence, references) for sentence in hypotheses]
    assert sentence_bleu(hypotheses, references, ORDERS).numpy() == close(expected)
    expected = [slow_bleu(one, others(hypotheses, i)) for i, one in enumerate(hypotheses)]
    assert sentence_self_bleu(hypotheses, ORDERS).numpy() == close(expected)


@pytest.mark.parametrize(
    ("name", "against_test", "against_self"),
    [
        ("mle", [0.7314, 0.4974, 0.3054, 0.1894], [0.9159, 0.7694, 0.5829, 0.4090]),
        ("leakgan", [0.7457, 0.5279, 0.3550, 0.2300], [0.9662, 0.9133, 0.8486, 0.7804]),
    ],
)
def test_the_published_samples(
    name: str, against_test: list[float], against_self: list[float]
) -> None:
    """Texygen's own samples, 9,984 against 10,000: the figures of NLTK's tokens and BLEU.

    Those that Texygen publishes differ from these by up to 0.0015.
    """
    sample = captions(f"texygen_samples/{name}.txt")
    found = bleu(sample, captions("image_coco_test.txt"))
    assert list(found.values()) == pytest.approx(against_test, abs=5e-4)
    assert list(self_bleu(sample).values()) == pytest.approx(against_self, abs=5e-4)
