"""Time of BLEU and Self-BLEU against NLTK, sacrebleu and plain sorting.

    python -m benchmarks.bleu [--scale smoke|cpu] [--data FOLDER]

Sentences are made: words drawn by Zipf's law, 12 a sentence. With `--data`, Texygen's samples
(texygen_samples/mle.txt) against the captions of image_coco_train.txt as well, split at whitespace.

Ours is measured from lists of words to the mean BLEU-2..5, best of several. Baselines:

- NLTK: `sentence_bleu` with method 1 for each order of 2 to 5 and each hypothesis, all references
  every time, as Texygen and its successors compute both figures.
- sacrebleu: `sentence_score` with smoothing "floor", for each order likewise; and the same with
  its references counted once, which it can for BLEU but not for Self-BLEU.
- sorting: numpy's sort of as many int64 keys as there are n-grams of order 1 to 5, about the
  least that a method must do that compares n-grams by sorting.

The first two take hours for 10,000 sentences: NLTK and sacrebleu score the first few, and their
time is scaled to all. The few scores must equal ours. One thread.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu
from sacrebleu.metrics.bleu import BLEU

from benchmarks.common import best, machine, print_table
from rubout.evaluation.bleu import ORDERS, bleu, self_bleu, sentence_bleu
from rubout.evaluation.matches import Corpus
from rubout.evaluation.tokens import read_sentences, tokenizer

Sentences = list[list[str]]
Scorer = Callable[[Sequence[str]], list[float]]
WORDS, EXPONENT, LENGTH = 20_000, 1.3, 12
_SAME = {"tokenize": "none", "smooth_method": "floor", "effective_order": True}


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        sizes: sentences, generated and reference alike.
        passes: timed; the best counts.
        sample: hypotheses that NLTK and sacrebleu score.
        against: references that they score them against; one of the sizes.
    """

    sizes: tuple[int, ...]
    passes: int
    sample: int
    against: int


SCALES = {
    "smoke": Scale((100, 1000), 2, 2, 1000),
    "cpu": Scale((1000, 10_000, 100_000), 5, 3, 10_000),
}


@dataclass(frozen=True)
class Times:
    """Seconds.

    Attributes:
        self_bleu: of one corpus.
        bleu: of one corpus against another.
        numbering: of the first corpus, from words to integers, a part of either.
        sorting: of its n-grams, see the module.
    """

    self_bleu: float
    bleu: float
    numbering: float
    sorting: float


def made(count: int, seed: int) -> Sentences:
    """Sentences by Zipf's law."""
    ranks_SL = np.random.default_rng(seed).zipf(EXPONENT, (count, LENGTH))
    return [[f"word{rank}" for rank in row] for row in np.minimum(ranks_SL, WORDS).tolist()]


def times(generated: Sentences, reference: Sentences, passes: int) -> Times:
    """Ours, and what sorting takes."""
    lengths_S = np.array([len(sentence) for sentence in generated])
    generator = np.random.default_rng(0)
    keys = [
        generator.integers(0, 2**62, int(np.maximum(0, lengths_S - order + 1).sum()))
        for order in range(1, max(ORDERS) + 1)
    ]
    return Times(
        self_bleu=best(lambda: self_bleu(generated), passes),
        bleu=best(lambda: bleu(generated, reference), passes),
        numbering=best(lambda: Corpus.of(generated), passes),
        sorting=best(lambda: [np.sort(some) for some in keys], passes),
    )


def by_nltk(references: Sentences) -> Scorer:
    """`sentence_bleu` with method 1, all references every time."""
    method = SmoothingFunction().method1
    return lambda sentence: [
        nltk_bleu(references, sentence, [1 / order] * order, smoothing_function=method)
        for order in ORDERS
    ]


def by_sacrebleu(references: Sentences) -> Scorer:
    """`sentence_score` with smoothing "floor", all references every time."""
    lines = [" ".join(one) for one in references]
    metrics = [BLEU(**_SAME, max_ngram_order=order) for order in ORDERS]
    return lambda sentence: [
        metric.sentence_score(" ".join(sentence), lines).score / 100 for metric in metrics
    ]


def by_sacrebleu_once(references: Sentences) -> Scorer:
    """The same with the references counted beforehand, and `corpus_score` of one sentence."""
    lines = [[" ".join(one)] for one in references]
    metrics = [BLEU(**_SAME, max_ngram_order=order, references=lines) for order in ORDERS]
    return lambda sentence: [
        metric.corpus_score([" ".join(sentence)], None).score / 100 for metric in metrics
    ]


BASELINES = {
    "NLTK": by_nltk,
    "sacrebleu": by_sacrebleu,
    "sacrebleu, references counted once": by_sacrebleu_once,
}


def ratios(generated: Sentences, reference: Sentences, ours: Times, sample: int) -> list[list[str]]:
    """A row for each baseline; its scores must be ours."""
    # Of shorter ones sacrebleu's scores are others, see rubout.evaluation.crosscheck.
    some = [sentence for sentence in generated if len(sentence) >= max(ORDERS)][:sample]
    expected = sentence_bleu(some, reference).numpy()
    rows = []
    for name, baseline in BASELINES.items():
        began = time.perf_counter()
        score = baseline(reference)
        ready = time.perf_counter()
        found = [score(sentence) for sentence in some]
        each = (time.perf_counter() - ready) / len(some)
        seconds = ready - began + each * len(generated)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        rows.append(
            [name, f"{seconds:,.0f} s", f"{ours.bleu:.3f} s", f"{seconds / ours.bleu:,.0f}"]
        )
    return rows


def _row(name: str, found: Times) -> list[str]:
    figures = (found.self_bleu, found.bleu, found.numbering, found.sorting)
    share = f"{found.sorting / found.self_bleu:.0%}"
    return [name, *(f"{1000 * seconds:,.1f} ms" for seconds in figures), share]


def _growth(sizes: tuple[int, ...], found: list[Times]) -> list[list[str]]:
    rows = []
    for first in range(len(sizes) - 1):
        size = math.log(sizes[first + 1] / sizes[first])
        one, other = found[first], found[first + 1]
        exponents = (
            math.log(other.self_bleu / one.self_bleu) / size,
            math.log(other.bleu / one.bleu) / size,
        )
        name = f"{sizes[first]:,} to {sizes[first + 1]:,}"
        rows.append([name, *(f"{exponent:.2f}" for exponent in exponents)])
    return rows


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--data", type=Path, help="folder of captions and of Texygen's samples")
    options = parser.parse_args()
    scale = SCALES[options.scale]
    corpora = {size: (made(size, 0), made(size, 1)) for size in scale.sizes}
    found = {size: times(*corpora[size], scale.passes) for size in scale.sizes}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    rows = [_row(f"{size:,} made", found[size]) for size in scale.sizes]
    pair, ours, name = corpora[scale.against], found[scale.against], f"{scale.against:,} made"
    if options.data:
        split = tokenizer("space")
        files = ("texygen_samples/mle.txt", "image_coco_train.txt")
        one, other = (read_sentences(options.data / file, split).sentences for file in files)
        pair, ours, name = (one, other), times(one, other, scale.passes), f"{len(one):,} captions"
        rows.append(_row(name, ours))
    print_table(
        "BLEU-2..5: seconds, and sorting as a share of Self-BLEU",
        ["sentences", "Self-BLEU", "BLEU", "numbering", "sorting", "share"],
        rows,
    )
    print_table(
        "Exponent of growth with the number of sentences",
        ["sentences", "Self-BLEU", "BLEU"],
        _growth(scale.sizes, list(found.values())),
    )
    print_table(
        f"BLEU of {name} against as many: time of others over ours, scaled from {scale.sample}",
        ["baseline", "baseline takes", "ours", "ratio"],
        ratios(*pair, ours, scale.sample),
    )
    print(f"\npeak memory of {scale.sizes[-1]:,} against as many, imports included: {peak:,.0f} MB")
    print(machine())


if __name__ == "__main__":
    main()
