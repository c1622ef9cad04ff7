"""Counts on sentences: how varied they are, how often they repeat themselves, or the data.

Sentences are lists of tokens, words or ids alike; figures of differently split sentences cannot be
compared. Most figures have no best value but that of real text: call `diversity` on as many real
sentences, and read both side by side.

A figure that is a mean over sentences is an `Estimate`, with its interval. What counts over the
whole corpus at once - distinct-n, entropy, unique, the length distance, the Zipf slope - depends
on how many sentences there are, and a resampled corpus has duplicates that the first had not, so
that the bootstrap says nothing of it: those are plain numbers, to be compared at one size alone.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from rubout.evaluation.estimate import Estimate, mean_of

Sentence = Sequence[Hashable]
Sentences = Sequence[Sentence]
NGram = tuple[Hashable, ...]

ORDERS = (1, 2, 3, 4)
REPEATED_ORDERS = (2, 3, 4)
ZIPF_RANKS = 5000


def _each(name: str, orders: Sequence[int], meaning: str) -> dict[str, tuple[str, str, str]]:
    return {f"{name}-{n}": (f"{name}-{n}", meaning.replace("#", str(n)), "as data") for n in orders}


TITLES = {
    **_each("distinct", ORDERS, "different #-grams per #-gram, of all sentences together"),
    **_each("entropy", ORDERS, "nats, of the #-grams counted"),
    **_each("seq-rep", REPEATED_ORDERS, "share of a sentence's #-grams that it had before"),
    "diversity": ("diversity", "product of 1 - seq-rep-n over n = 2, 3, 4", "as data"),
    "unique": ("unique", "different sentences per sentence", "as data"),
    "copied": ("copied", "share of sentences that training data have", "as data"),
    "nearly-copied": ("nearly copied", "the same, or within one edit of a token", "as data"),
    "length-distance": ("length distance", "Wasserstein-1 to real lengths, in tokens", "low"),
    "zipf-slope": ("Zipf slope", "of log frequency against log rank", "as data"),
}
"""By figure: what a reader calls it, what it is, and where it should be: low, high or as data."""


def diversity(
    generated: Sentences, reference: Sentences | None = None, train: Sentences | None = None
) -> dict[str, Estimate | float]:
    """Every figure of `TITLES` that the arguments allow.

    Of real sentences, as many as were generated, it gives what to compare with.

    Args:
        generated: at least one sentence.
        reference: real sentences, for the length distance alone.
        train: what a model learned from, for the shares of copies alone.

    Returns:
        by name, in the order of `TITLES`; without what no such sentences have, as the 4-grams of
        sentences of three tokens.

    Raises:
        ValueError: a corpus is empty.
        TypeError: a sentence is not split into tokens.
    """
    found: dict[str, Estimate | float] = {}
    for order in ORDERS:
        found[f"distinct-{order}"] = distinct(generated, order)
        found[f"entropy-{order}"] = entropy(generated, order)
    for order in REPEATED_ORDERS:
        found[f"seq-rep-{order}"] = repetition(generated, order)
    found["diversity"] = unrepeated(generated)
    found["unique"] = unique(generated)
    if train is not None:
        found["copied"] = copied(generated, train)
        found["nearly-copied"] = nearly_copied(generated, train)
    if reference is not None:
        found["length-distance"] = length_distance(generated, reference)
    found["zipf-slope"] = zipf_slope(generated)
    return {name: found[name] for name in TITLES if name in found and _exists(found[name])}


def distinct(sentences: Sentences, order: int) -> float:
    """Different n-grams over n-grams, of all sentences together.

    The share falls as sentences are added.

    Args:
        sentences: at least one.
        order: n.

    Returns:
        above 0, at most 1; nan where no sentence has n tokens.

    Source: Li et al., "A Diversity-Promoting Objective Function" (NAACL 2016), who divide by all
    tokens at n = 2 too; by n-grams, as is usual since, no order is favoured.
    """
    counts = ngram_counts(sentences, order)
    return len(counts) / counts.total() if counts else math.nan


def entropy(sentences: Sentences, order: int) -> float:
    """The entropy of the n-grams as they were counted, in nats.

    The plug-in estimate: too low, by about (K - 1) / (2 N) for K kinds among N where each is
    frequent, and by far more at n = 3 and 4, where most come once; its limit is log N.

    Args:
        sentences: at least one.
        order: n.

    Returns:
        nan where no sentence has n tokens.

    Source: Zhang et al., "Generating Informative and Diverse Conversational Responses" (NeurIPS
    2018), Ent-n; Miller (1955) for the bias.
    """
    counts = ngram_counts(sentences, order)
    if not counts:
        return math.nan
    total = counts.total()
    return math.log(total) - math.fsum(n * math.log(n) for n in counts.values()) / total


def repetition(sentences: Sentences, order: int) -> Estimate:
    """seq-rep-n: 1 - different n-grams over n-grams of each sentence, in the mean over sentences.

    A sentence of fewer than n tokens repeats nothing: 0.

    Args:
        sentences: at least one.
        order: n.

    Source: Welleck et al., "Neural Text Generation with Unlikelihood Training" (ICLR 2020).
    """
    return mean_of(_repeated(sentences, order))


def unrepeated(sentences: Sentences) -> Estimate:
    """SimCTG's diversity: the product of 1 - rep-n over n = 2, 3, 4, in the mean over sentences.

    rep-n is that of each sentence, as the paper writes it; its authors' code adds up the counts of
    all sentences before it divides, and leaves out the last n-gram of each.

    Args:
        sentences: at least one.

    Source: Su et al., "A Contrastive Framework for Neural Text Generation" (NeurIPS 2022).
    """
    kept_NB = torch.stack([1 - _repeated(sentences, order) for order in REPEATED_ORDERS])
    return mean_of(kept_NB.prod(0))


def unique(sentences: Sentences) -> float:
    """Different sentences over sentences; falls as sentences are added."""
    _check(sentences)
    return len(set(map(tuple, sentences))) / len(sentences)


def copied(generated: Sentences, train: Sentences) -> Estimate:
    """The share of generated sentences that are training sentences, token by token."""
    _check(generated, train)
    known = set(map(tuple, train))
    return mean_of(torch.tensor([float(tuple(sentence) in known) for sentence in generated]))


def nearly_copied(generated: Sentences, train: Sentences) -> Estimate:
    """The share of generated sentences at most one edit away from a training sentence.

    An edit inserts, deletes or replaces one token, so that copies count too. Exact: one edit leaves
    one half of a sentence as it is, so that only training sentences with one of its halves in
    common, at the same end, are compared with it. Memory grows with the tokens of both.

    Args:
        generated: at least one sentence.
        train: at least one.
    """
    _check(generated, train)
    known: defaultdict[Hashable, list[NGram]] = defaultdict(list)
    for sentence in set(map(tuple, train)):
        for length in range(max(0, len(sentence) - 1), len(sentence) + 2):
            for key in _halves(sentence, length):
                known[key].append(sentence)
    found: dict[NGram, bool] = {}
    for sentence in set(map(tuple, generated)):
        candidates = (known.get(key, ()) for key in _halves(sentence, len(sentence)))
        found[sentence] = any(
            _within_one_edit(sentence, other) for some in candidates for other in some
        )
    return mean_of(torch.tensor([float(found[tuple(sentence)]) for sentence in generated]))


def length_distance(generated: Sentences, reference: Sentences) -> float:
    """The Wasserstein-1 distance between the lengths of two corpora, in tokens.

    That is the area between their cumulative distributions: the least mean change of length that
    makes one of the other. Two samples of one distribution are a little apart, the less so the
    larger they are.
    """
    _check(generated, reference)
    lengths = [np.array([len(sentence) for sentence in some]) for some in (generated, reference)]
    width = 1 + max(int(some.max()) for some in lengths)
    shares = [np.bincount(some, minlength=width).cumsum() / len(some) for some in lengths]
    return float(np.abs(shares[0] - shares[1]).sum())


def zipf_slope(sentences: Sentences, ranks: int = ZIPF_RANKS) -> float:
    """The least-squares slope of log frequency against log rank, of tokens.

    Minus Zipf's coefficient; about -1 in long texts. Depends on the corpus' size: rare tokens, of
    which most ranks are, all have frequencies 1, 2, 3.

    Args:
        sentences: at least one.
        ranks: the ranks that count, 1 to this number or to the last token, as in the authors' code.

    Returns:
        at most 0; nan for fewer than two different tokens.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (ICLR 2020).
    """
    frequencies = sorted(ngram_counts(sentences, 1).values(), reverse=True)[:ranks]
    if len(frequencies) < 2:
        return math.nan
    across = np.log(np.arange(1, len(frequencies) + 1))
    across -= across.mean()
    return float(across @ np.log(frequencies) / (across @ across))


def _exists(figure: Estimate | float) -> bool:
    return isinstance(figure, Estimate) or not math.isnan(figure)


def ngram_counts(sentences: Sentences, order: int) -> Counter[NGram]:
    """How often each n-gram comes in all sentences together; none crosses from one to the next.

    Raises:
        ValueError: there are no sentences, or the order is below 1.
        TypeError: a sentence is not split into tokens.
    """
    _check(sentences)
    return Counter(chain.from_iterable(_ngrams(sentence, order) for sentence in sentences))


def _repeated(sentences: Sentences, order: int) -> Tensor:
    """1 - different n-grams over n-grams of each sentence, float64 [B]."""
    _check(sentences)
    shares = []
    for sentence in sentences:
        count = len(sentence) - order + 1
        shares.append(1 - len(set(_ngrams(sentence, order))) / count if count > 0 else 0.0)
    return torch.tensor(shares, dtype=torch.float64)


def _ngrams(sentence: Sentence, order: int) -> Iterator[NGram]:
    if order < 1:
        raise ValueError(f"an n-gram has at least one token, not {order}")
    return zip(*(sentence[first:] for first in range(order)), strict=False)


def _halves(sentence: NGram, length: int) -> Iterator[Hashable]:
    """Both ends of a sentence, each as long as the half of one of this length."""
    half = max(0, length - 1) // 2
    yield "start", length, sentence[:half]
    yield "end", length, sentence[len(sentence) - half :]


def _within_one_edit(one: NGram, other: NGram) -> bool:
    """Whether what follows the first difference is the same: in both, or behind a token of one."""
    first = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    rest, others = one[first + 1 :], other[first + 1 :]
    return rest == others or rest == other[first:] or others == one[first:]


def _check(*corpora: Sentences) -> None:
    for sentences in corpora:
        if not sentences:
            raise ValueError("there are no sentences to count")
        # Either would be counted without complaint: a line by its letters, a row of a tensor by
        # the identity of its elements.
        if any(isinstance(sentence, str | Tensor) for sentence in sentences):
            raise TypeError(
                "each sentence must be a sequence of tokens: line.split(), row.tolist()"
            )
