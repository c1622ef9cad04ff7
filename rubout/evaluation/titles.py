"""What a reader calls a figure, and which way is better: in one place for tables and charts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rubout.evaluation import backspaces, diversity, embedding, language_model, truth

Better = Literal["low", "high", "as data"]


@dataclass(frozen=True)
class Title:
    """A figure, to a reader.

    Attributes:
        words: what it is called.
        better: the side on which it is better, or `as data` where that is near the figure of real
            text; None: not to be judged.
        meaning: what it is, in a few words, or empty.
    """

    words: str
    better: Better | None = None
    meaning: str = ""

    @property
    def direction(self) -> str:
        """Which way is better, in words, or nothing."""
        return "" if self.better is None else _DIRECTIONS[self.better]


_DIRECTIONS: dict[Better, str] = {
    "low": "lower is better",
    "high": "higher is better",
    "as data": "better as data",
}


_PLAIN = {
    "nll_test": Title("NLL test", "low", "of the test data, nats per action, <eos> included"),
    "nll_validation": Title("NLL validation", "low", "of the validation data, nats per action"),
    "exact_match": Title("exact match", "high", "share of answers that are right"),
    "loss": Title("loss", None, "what the learner minimises"),
}
_BETTER: dict[str, Better] = {
    "nll_oracle": "low",
    "kl_forward": "low",
    "kl_reverse": "low",
    "jsd": "low",
    "corrected_errors": "high",
    "false_alarms": "low",
    "nll_test_without": "low",
}
_BLEU = re.compile(r"(self-)?bleu-(\d+)")


def title_of(name: str) -> Title:
    """The title of a figure; one that nobody has named is called what it is.

    Args:
        name: as in evaluation.json, sweep.json or metrics.jsonl.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    named = {**truth.TITLES, **backspaces.TITLES}
    if name in named:
        words, meaning = named[name]
        return Title(words, _BETTER.get(name), meaning)
    judged = {**diversity.TITLES, **language_model.TITLES, **embedding.TITLES}
    if name in judged:
        words, meaning, side = judged[name]
        return Title(words, next((one for one in _DIRECTIONS if one == side), None), meaning)
    bleu = _BLEU.fullmatch(name)
    if bleu is None:
        return Title(name)
    if bleu[1]:
        return Title(f"Self-BLEU-{bleu[2]}", "low", "samples against each other: diversity")
    return Title(f"BLEU-{bleu[2]}", "high", "samples against the test data: quality")
