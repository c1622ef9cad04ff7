"""Sentence BLEU by sacrebleu, to hold ours against.

sacrebleu's BLEU of a sentence is ours, the closest length included, with smoothing "floor" of 0.1
and tokens left as they are, but for sentences of fewer tokens than the order: sacrebleu scores
them by the orders they have (effective order) or by 0 (without), we count 0.1 matches of one.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rubout.evaluation.bleu import bleu
from rubout.evaluation.matches import Sentence

ORDER = 4
SAMPLE = 1000


@dataclass(frozen=True)
class Check:
    """The same figure by two programs.

    Attributes:
        sacrebleu: the mean, from 0 to 1.
        rubout: the mean, from 0 to 1.
        sentences: how many were scored, all references being those of each.
        short: how many of them have fewer tokens than the order, see the module.
        signature: sacrebleu's.
    """

    sacrebleu: float
    rubout: float
    sentences: int
    short: int
    signature: str


def by_sacrebleu(
    hypotheses: Sequence[Sentence], references: Sequence[Sentence], seed: int = 0
) -> Check:
    """The mean sentence BLEU-4 of a sample, against all references, by sacrebleu and by us.

    Args:
        hypotheses: tokens, at least one in each; where they are more than 1,000, as many of them
            at random are scored, sacrebleu being slow.
        references: tokens, at least one in each.
        seed: of the sample.
    """
    from sacrebleu.metrics.bleu import BLEU  # slow to import, and seldom asked for

    sample = list(hypotheses)
    if len(sample) > SAMPLE:
        sample = random.Random(seed).sample(sample, SAMPLE)
    ids: dict[Hashable, str] = {}

    def line(sentence: Sentence) -> str:
        """As numbers, since a token may hold whitespace, at which sacrebleu would split it."""
        return " ".join([ids.setdefault(token, str(len(ids))) for token in sentence])

    metric = BLEU(
        tokenize="none",
        smooth_method="floor",
        smooth_value=0.1,
        effective_order=True,
        max_ngram_order=ORDER,
        references=[[line(sentence)] for sentence in references],
    )
    # A corpus of one, and not sentence_score, which would count the references every time.
    scores = [metric.corpus_score([line(sentence)], None).score / 100 for sentence in sample]
    return Check(
        sacrebleu=sum(scores) / len(scores),
        rubout=bleu(sample, references, (ORDER,))[ORDER],
        sentences=len(sample),
        short=sum(len(sentence) < ORDER for sentence in sample),
        signature=str(metric.get_signature()),
    )
