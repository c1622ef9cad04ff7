"""BLEU against a corpus (quality) and Self-BLEU (lack of diversity), exactly and in linear time.

The BLEU of sentence h, against every sentence of the corpus as a reference, up to order n:

    BLEU_n(h) = min(1, exp(1 - r / |h|)) (p_1 ... p_n)^(1/n),   p_k = matches_k / max(1, count_k)

where count_k is how many k-grams h has; matches_k how many, each k-gram counted at most as often
as it comes in the one reference that has it most often; and r the length of the reference
closest to |h|, the shorter of two as close. No matches of order k count as 0.1 (method 1); no
matches of order 1 make the score 0. A corpus scores the mean of its sentences.

The references are gone through once, to keep for each n-gram its largest count; Self-BLEU, where
the references of a sentence are all the others, keeps also who has it, and the largest of the rest.

Both figures depend on how many references there are and on how sentences are split: report both.

Source: Papineni et al. (ACL 2002); Chen and Cherry (WMT 2014), smoothing 1, as in NLTK; Zhu et al.,
"Texygen" (SIGIR 2018), for Self-BLEU and every reference for every sentence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Sentence = Sequence[Hashable]
NGram = tuple[Hashable, ...]

ORDERS = (2, 3, 4, 5)
NO_MATCH = 0.1


class Most(NamedTuple):
    """How often one n-gram comes in one sentence.

    Attributes:
        largest: count, over sentences.
        holder: the index of a sentence that has it so often.
        of_others: the largest count over every sentence but the holder.
    """

    largest: int
    holder: int
    of_others: int


@dataclass(frozen=True)
class References:
    """All that BLEU asks of the references; where `without` is an index, of all the others.

    Attributes:
        most: of each n-gram, of every order up to the largest asked for.
        lengths: how many sentences are of each length.
    """

    most: dict[NGram, Most]
    lengths: Counter[int]

    @classmethod
    def of(cls, sentences: Sequence[Sentence], max_order: int) -> References:
        """Go through the sentences, once."""
        most: dict[NGram, Most] = {}
        for index, sentence in enumerate(sentences):
            for ngram, count in Counter(_ngrams(sentence, max_order)).items():
                known = most.get(ngram)
                if known is None:
                    most[ngram] = Most(count, index, 0)
                elif count > known.largest:
                    most[ngram] = Most(count, index, known.largest)
                elif count > known.of_others:
                    most[ngram] = known._replace(of_others=count)
        return cls(most, Counter(map(len, sentences)))

    def matches(self, sentence: Sentence, max_order: int, without: int | None) -> list[int]:
        """How many n-grams match; item k is of order k, and item 0 is not used."""
        matches = [0] * (max_order + 1)
        for ngram, count in Counter(_ngrams(sentence, max_order)).items():
            known = self.most.get(ngram)
            if known is not None:
                limit = known.of_others if known.holder == without else known.largest
                matches[len(ngram)] += min(count, limit)
        return matches

    def closest_length(self, length: int, without: int | None) -> int:
        """The length closest to this one, the shorter of two; `without` is of this length."""
        alone = without is not None and self.lengths[length] == 1
        return min(
            (other for other in self.lengths if not (alone and other == length)),
            key=lambda other: (abs(other - length), other),
        )


def sentence_bleu(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sentence],
    orders: Sequence[int] = ORDERS,
) -> Tensor:
    """The BLEU of each hypothesis, all the references being those of each.

    Args:
        hypotheses: tokens, of any kind that can be hashed; an empty one scores 0.
        references: tokens of the same kind; at least one.
        orders: the longest n-gram of each score, at least 1.

    Returns:
        float64 [len(hypotheses), len(orders)], from 0 to 1.

    Raises:
        ValueError: for want of references, hypotheses or orders.
        TypeError: where a sentence is not split into tokens.
    """
    _check(hypotheses, references, orders, least=1)
    known = References.of(references, max(orders))
    rows = [_scores(sentence, known, orders) for sentence in hypotheses]
    return torch.tensor(rows, dtype=torch.float64)


def sentence_self_bleu(sentences: Sequence[Sentence], orders: Sequence[int] = ORDERS) -> Tensor:
    """The BLEU of each sentence, all the others being its references.

    A sentence that comes twice is its own reference. The scores are not independent of each
    other, so that their spread does not give the error of their mean.

    Args:
        sentences: tokens, of any kind that can be hashed; at least two.
        orders: the longest n-gram of each score, at least 1.

    Returns:
        float64 [len(sentences), len(orders)], from 0 to 1.

    Raises:
        ValueError: for want of sentences or orders.
        TypeError: where a sentence is not split into tokens.
    """
    _check(sentences, sentences, orders, least=2)
    known = References.of(sentences, max(orders))
    rows = [_scores(sentence, known, orders, index) for index, sentence in enumerate(sentences)]
    return torch.tensor(rows, dtype=torch.float64)


def bleu(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sentence],
    orders: Sequence[int] = ORDERS,
) -> dict[int, float]:
    """The mean of `sentence_bleu`, by order."""
    means = sentence_bleu(hypotheses, references, orders).mean(0)
    return dict(zip(orders, means.tolist(), strict=True))


def self_bleu(sentences: Sequence[Sentence], orders: Sequence[int] = ORDERS) -> dict[int, float]:
    """The mean of `sentence_self_bleu`, by order; lower is more diverse."""
    means = sentence_self_bleu(sentences, orders).mean(0)
    return dict(zip(orders, means.tolist(), strict=True))


def _scores(
    sentence: Sentence, known: References, orders: Sequence[int], without: int | None = None
) -> list[float]:
    matches = known.matches(sentence, max(orders), without)
    length = len(sentence)
    if matches[1] == 0:
        return [0.0] * len(orders)
    penalty = min(0.0, 1 - known.closest_length(length, without) / length)
    logs = [
        math.log((matches[order] or NO_MATCH) / max(1, length - order + 1))
        for order in range(1, max(orders) + 1)
    ]
    return [math.exp(penalty + math.fsum(logs[:order]) / order) for order in orders]


def _ngrams(sentence: Sentence, max_order: int) -> Iterator[NGram]:
    """Of every order up to the largest; a sentence shorter than the order has none."""
    for order in range(1, max_order + 1):
        yield from zip(*(sentence[first:] for first in range(order)), strict=False)


def _check(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sentence],
    orders: Sequence[int],
    least: int,
) -> None:
    if not orders or min(orders) < 1:
        raise ValueError(f"orders must be one or more numbers of at least 1, not {orders}")
    if not hypotheses or len(references) < least:
        counts = f"not {len(hypotheses)} and {len(references)}"
        raise ValueError(f"BLEU needs a hypothesis and {least} reference(s) or more, {counts}")
    # Either would be scored without complaint: a line by its letters, and a row of a tensor,
    # whose elements are hashed by identity, as having no matches at all.
    if any(isinstance(sentence, str | Tensor) for sentence in (*hypotheses, *references)):
        raise TypeError("each sentence must be a sequence of tokens: line.split(), row.tolist()")
