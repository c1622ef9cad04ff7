"""Samples beside real text: BLEU, diversity, and what language models say of them.

Words are what is counted, split at white space, whatever the tokens of a run are; networks read
tokens. A policy's samples are drawn without the token for unknown words, which no reader wants.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Hashable

from rubout.errors import UserError
from rubout.evaluation import diversity, embedding, language_model
from rubout.evaluation.bleu import ORDERS, jackknife_self_bleu, sentence_bleu, signature
from rubout.evaluation.draws import draw
from rubout.evaluation.estimate import Estimate, mean_of
from rubout.evaluation.features import LanguageModelConfig, features
from rubout.policy import Policy
from rubout.tape import survivors
from rubout.task import Codec, Task
from rubout.types import Sequences

Words = list[list[Hashable]]
NAMES = (
    *(f"{name}-{order}" for name in ("bleu", "self-bleu") for order in ORDERS),
    *diversity.TITLES,
    *language_model.TITLES,
    *embedding.TITLES,
)
"""Every figure there is here."""


def words(codec: Codec, sequences: Sequences) -> Words:
    """The words of each text: texts without any are left out, as in a file.

    A word outside the vocabulary is like no other, not even like another such word.
    """
    unknown = None if codec.unknown_id is None else codec.decode([codec.unknown_id])
    split = (codec.decode(row).split() for row in sequences.lists())
    return [[object() if word == unknown else word for word in text] for text in split if text]


def texts(
    policy: Policy, task: Task, num_samples: int, seed: int, temperature: float = 1.0
) -> Sequences:
    """Samples to be read: without the token for unknown words, deletions carried out."""
    unknown = task.codec.unknown_id
    suppress = () if unknown is None else (unknown,)
    drawn = draw(policy, num_samples, seed, temperature=temperature, suppress=suppress)
    return survivors(policy.space, drawn)


def bleu_of(samples: Words, real: Words, seed: int = 0) -> dict[str, Estimate]:
    """BLEU-2..5 of samples against all real texts, and their Self-BLEU-2..5 with jackknife errors.

    Raises:
        UserError: fewer than three samples have words.
    """
    if len(samples) < 3:
        raise UserError(f"Self-BLEU and its error need three texts or more, not {len(samples)}")
    scores_BN = sentence_bleu(samples, real)
    found = {f"bleu-{order}": mean_of(scores_BN[:, place]) for place, order in enumerate(ORDERS)}
    for order, known in jackknife_self_bleu(samples, ORDERS, seed=seed).items():
        found[f"self-bleu-{order}"] = Estimate(known.mean, known.standard_error, len(samples))
    return found


def bleu_signature(task: Task, generated: int) -> str:
    """What the BLEU of so many samples is of: see `rubout.evaluation.bleu.signature`."""
    return signature(generated, len(task.split("test")), "space", "mixed")


class Yardstick:
    """Real text and a frozen scorer of it, made once, that samples are held to.

    Attributes:
        count: sequences that are compared at a time: all figures of a table are of as many.
    """

    def __init__(self, task: Task, count: int, seed: int = 0) -> None:
        """Read the task's text and fit a language model to as many training sequences.

        Args:
            task: without prompts.
            count: samples of each row; no more than there are training sequences, so that language
                models of both are fitted to as many.
            seed: of the language models.

        Raises:
            UserError: the task has prompts, or too few sequences.
        """
        splits = {name: task.split(name) for name in ("train", "test")}
        if splits["test"].prompts is not None:
            raise UserError(
                "--quality is for tasks without prompts: answers have a score of their own"
            )
        real = {name: survivors(task.space, split) for name, split in splits.items()}
        self.count = min(count, len(real["train"]))
        self._task, self._seed = task, seed
        self._train, self._test = real["train"], real["test"]
        self._first_words = words(task.codec, self._train[: self.count])
        self._train_words = [*self._first_words, *words(task.codec, self._train[self.count :])]
        self._test_words = words(task.codec, self._test)
        width = LanguageModelConfig().hidden
        least = min(self.count, len(self._test))
        if least <= width:
            raise UserError(f"--quality needs more than {width} sequences, not {least}")
        self._scorer = language_model.fit_scorer(self._train[: self.count], task.space, seed=seed)
        self._features = features(self._scorer, self._test[: self.count])

    def of_policy(self, policy: Policy, seed: int, temperature: float = 1.0) -> dict[str, Estimate]:
        """The figures of as many samples of a policy."""
        samples = texts(policy, self._task, self.count, seed, temperature)
        return self._figures(samples, words(self._task.codec, samples))

    def of_training_data(self) -> dict[str, Estimate]:
        """The same figures of real text; the LM score is that of what its scorer was fitted to."""
        return self._figures(self._train[: self.count], self._first_words)

    def _figures(self, samples: Sequences, read: Words) -> dict[str, Estimate]:
        """Every measure; MAUVE where it is installed: see `docs/metrics.md`."""
        task, seed = self._task, self._seed
        found = bleu_of(read, self._test_words, seed)
        for name, value in diversity.diversity(read, self._test_words, self._train_words).items():
            found[name] = value if isinstance(value, Estimate) else _plain(value, len(read))
        found["lm-score"] = language_model.lm_score(self._scorer, samples)
        found["reverse-lm-score"] = language_model.reverse_lm_score(
            samples, self._test, task.space, seed=seed
        )
        seen = features(self._scorer, samples)
        distance = embedding.frechet_distance(seen, self._features)
        found["frechet-distance"] = _plain(distance, len(samples))
        if importlib.util.find_spec("mauve") is not None:
            found["mauve"] = _plain(embedding.mauve(seen, self._features, seed), len(samples))
        return found


def _plain(value: float, count: int) -> Estimate:
    """A figure of a whole corpus, whose error is not known."""
    return Estimate(value, math.inf, count)
