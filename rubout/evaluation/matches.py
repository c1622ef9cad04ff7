"""How many n-grams of each sentence come in others too, counted exactly and in linear time.

All sentences are one row of token ids. For each order the places of its n-grams are sorted once;
equal n-grams, and those of one sentence among them, then lie side by side, and the largest count
of each n-gram is a maximum over neighbours. Where the references of a sentence are all the others,
the second largest is needed too: it limits the only sentence that has the largest. An n-gram can
match only where both (n-1)-grams in it do, so that few are left to sort at high n.

Dimensions: S sentences, N tokens of all of them, K orders; P n-grams of one order, each as often as
it comes; C cells, each an n-gram with a sentence that has it; G different n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Sentence = Sequence[Hashable]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Corpus:
    """Sentences as one row of ids.

    Attributes:
        tokens_N: int64 [N], the tokens of one sentence after those of another, from 0 up.
        lengths_S: int64 [S].
    """

    tokens_N: Integers
    lengths_S: Integers

    @classmethod
    def of(cls, sentences: Sequence[Sentence]) -> Corpus:
        """Number the tokens in the order they first come in."""
        lengths_S = np.fromiter(map(len, sentences), np.int64, len(sentences))
        first = dict.fromkeys(chain.from_iterable(sentences))
        ids = dict(zip(first, range(len(first)), strict=True))
        tokens = map(ids.__getitem__, chain.from_iterable(sentences))
        return cls(np.fromiter(tokens, np.int64, int(lengths_S.sum())), lengths_S)

    def where(self, kept_S: Booleans) -> Corpus:
        """Some of the sentences, their tokens numbered as before."""
        return Corpus(self.tokens_N[np.repeat(kept_S, self.lengths_S)], self.lengths_S[kept_S])


@dataclass(frozen=True)
class Cells:
    """How often each n-gram of one order comes in each sentence that has it.

    Attributes:
        counts_C: int64 [C], the cells of one n-gram after those of another.
        sentences_C: int64 [C], ascending within an n-gram.
        first_G: int64 [G], the first cell of each n-gram.
    """

    counts_C: Integers
    sentences_C: Integers
    first_G: Integers

    def largest(self, counts_C: Integers) -> Integers:
        """The largest of each n-gram, int64 [C], one figure for all of its cells."""
        return self._spread(np.maximum.reduceat(counts_C, self.first_G))

    def number(self, marked_C: Booleans) -> Integers:
        """How many cells of each n-gram are marked, int64 [C], one figure for all of its cells."""
        return self._spread(np.add.reduceat(marked_C, self.first_G, dtype=np.int64))

    def _spread(self, figures_G: Integers) -> Integers:
        return np.repeat(figures_G, np.diff(self.first_G, append=len(self.counts_C)))


# The largest count of a cell's n-gram in a sentence that its own is compared with, int64 [C].
Limits = Callable[[Cells], Integers]


def in_others(cells: Cells) -> Integers:
    """Each sentence is compared with all the others."""
    counts_C, largest_C = cells.counts_C, cells.largest(cells.counts_C)
    has_most_C = counts_C == largest_C
    second_C = cells.largest(np.where(has_most_C, 0, counts_C))
    return np.where(has_most_C & (cells.number(has_most_C) == 1), second_C, largest_C)


def between(num_references: int) -> Limits:
    """The first sentences are compared with the rest, and the rest with the first.

    Args:
        num_references: how many are the first.
    """

    def limits(cells: Cells) -> Integers:
        is_first_C = cells.sentences_C < num_references
        most_in_rest_C = cells.largest(np.where(is_first_C, 0, cells.counts_C))
        most_in_first_C = cells.largest(np.where(is_first_C, cells.counts_C, 0))
        return np.where(is_first_C, most_in_rest_C, most_in_first_C)

    return limits


def count_matches(corpus: Corpus, max_order: int, limits: Limits) -> Integers:
    """How many n-grams match, each at most as often as its limit says.

    Args:
        corpus: the sentences.
        max_order: the longest n-grams.
        limits: see above.

    Returns:
        int64 [S, max_order], n-grams of one token in column 0.
    """
    num_sentences = len(corpus.lengths_S)
    matches_SK = np.zeros((num_sentences, max_order), np.int64)
    ngrams = _NGrams.single(corpus)
    for order in range(1, max_order + 1):
        if order > 1:
            ngrams = ngrams.longer(corpus.tokens_N, order)
        if not len(ngrams.start_P):
            break
        order_P, cells = ngrams.cells()
        limit_C = limits(cells)
        matched_C = np.minimum(cells.counts_C, limit_C)
        matches_SK[:, order - 1] = np.bincount(cells.sentences_C, matched_C, num_sentences)
        if order < max_order:
            ngrams = ngrams.that_match(order_P, cells, limit_C)
    return matches_SK


@dataclass(frozen=True)
class _NGrams:
    """The n-grams of one order that may match.

    Attributes:
        start_P: int64 [P], where in the row of tokens each begins, ascending.
        sentence_P: int64 [P].
        id_P: int64 [P], the same for equal n-grams.
    """

    start_P: Integers
    sentence_P: Integers
    id_P: Integers

    @classmethod
    def single(cls, corpus: Corpus) -> _NGrams:
        """Those of one token."""
        sentence_N = np.repeat(np.arange(len(corpus.lengths_S)), corpus.lengths_S)
        return cls(np.arange(len(corpus.tokens_N)), sentence_N, corpus.tokens_N)

    def longer(self, tokens_N: Integers, order: int) -> _NGrams:
        """Those of this order, one more than these are of, that begin and end with one of these."""
        both = (np.diff(self.start_P) == 1) & (np.diff(self.sentence_P) == 0)
        start_P, id_P = self.start_P[:-1][both], self.id_P[:-1][both]
        id_P = id_P * (tokens_N.max() + 1) + tokens_N[start_P + order - 1]
        return _NGrams(start_P, self.sentence_P[:-1][both], id_P)

    def cells(self) -> tuple[Integers, Cells]:
        """The order of the n-grams by id, then by sentence, int64 [P], and their cells."""
        order_P, sorted_P = stable_order(self.id_P)
        sentence_P = self.sentence_P[order_P]
        is_new_P = _differs(sorted_P)
        first_C = np.flatnonzero(is_new_P | _differs(sentence_P))
        counts_C = np.diff(first_C, append=len(order_P))
        first_G = np.flatnonzero(is_new_P[first_C])
        return order_P, Cells(counts_C, sentence_P[first_C], first_G)

    def that_match(self, order_P: Integers, cells: Cells, limit_C: Integers) -> _NGrams:
        """Those whose limit is not 0, with ids from 0 to G."""
        cells_G = np.diff(cells.first_G, append=len(cells.counts_C))
        id_P, kept_P = np.empty_like(self.id_P), np.empty(len(order_P), np.bool_)
        id_P[order_P] = np.repeat(np.repeat(np.arange(len(cells_G)), cells_G), cells.counts_C)
        kept_P[order_P] = np.repeat(limit_C > 0, cells.counts_C)
        return _NGrams(self.start_P[kept_P], self.sentence_P[kept_P], id_P[kept_P])


def _differs(values_P: Integers) -> Booleans:
    """From the one before; the first does."""
    return np.append(True, values_P[1:] != values_P[:-1])


def stable_order(keys_P: Integers) -> tuple[Integers, Integers]:
    """The order that sorts keys and leaves equal ones as they were.

    Args:
        keys_P: int64 [P], at least one, none negative.

    Returns:
        the order, int64 [P], and the keys in it.
    """
    bits = len(keys_P).bit_length()
    if int(keys_P.max()).bit_length() + bits < 64:
        # Numpy sorts integers with vector instructions, many times as fast as a stable argsort.
        packed_P = np.sort(keys_P << bits | np.arange(len(keys_P)))
        return packed_P & ((1 << bits) - 1), packed_P >> bits
    order_P = np.argsort(keys_P, kind="stable")
    return order_P, keys_P[order_P]
