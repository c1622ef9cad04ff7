"""BLEU and Self-BLEU of a policy's samples, beside its test data."""

from __future__ import annotations

from rubout.evaluation.bleu import ORDERS, sentence_bleu, sentence_self_bleu
from rubout.evaluation.draws import draw
from rubout.evaluation.estimate import Estimate, mean_of
from rubout.policy import Policy
from rubout.tape import survivors
from rubout.task import Codec, Task
from rubout.types import Sequences, Trajectories


def words(codec: Codec, sequences: Sequences) -> list[list[str]]:
    """The words of each text, split at white space: what BLEU counts, whatever the tokens are."""
    return [codec.decode(row).split() for row in sequences.lists()]


def bleu_of(
    policy: Policy,
    task: Task,
    test: Trajectories,
    num_samples: int,
    seed: int,
    temperature: float = 1.0,
) -> dict[str, Estimate]:
    """BLEU-2..5 of samples against all test texts, and their Self-BLEU-2..5.

    The token for unknown words is not drawn: no reader wants it, and in the references it would
    match. The errors of Self-BLEU are those of its mean over sentences, the others being given.
    """
    unknown = task.codec.unknown_id
    suppress = () if unknown is None else (unknown,)
    drawn = draw(policy, num_samples, seed, temperature=temperature, suppress=suppress)
    texts = words(task.codec, survivors(policy.space, drawn))
    real = words(task.codec, survivors(task.space, test))
    scores = {"bleu": sentence_bleu(texts, real), "self-bleu": sentence_self_bleu(texts)}
    return {
        f"{name}-{order}": mean_of(scores_BN[:, place])
        for name, scores_BN in scores.items()
        for place, order in enumerate(ORDERS)
    }
