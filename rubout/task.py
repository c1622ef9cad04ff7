"""The contract of a task: where real sequences come from."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from rubout.policy import Policy
from rubout.types import ActionSpace, Sequences, Trajectories

Split = Literal["train", "validation", "test"]


class Codec(ABC):
    """Text to token ids and back; saved with a run, so that generating needs no corpus."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    @abstractmethod
    def decode(self, tokens: list[int]) -> str:
        """The text of token ids."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """All that `rubout.tasks.codecs.codec_from_json` needs to make it again."""

    @property
    def fingerprint(self) -> str:
        """Short digest of all that `to_json` gives: tells one vocabulary from another."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def unknown_id(self) -> int | None:
        """The token that stands for words outside the vocabulary, or None."""
        return None


class Task(ABC):
    """A source of expert sequences. Built as `TaskClass(config)`; bad input raises UserError.

    Attributes:
        Config: the class of its options, a frozen dataclass.
        space: tokens, `<eos>` and lengths, without a backspace: that is the run's choice and takes
            the id after.
        codec: text and ids.
    """

    Config: ClassVar[type]
    space: ActionSpace
    codec: Codec
    _typed: Tensor | None = None

    @abstractmethod
    def split(self, name: Split) -> Trajectories:
        """The expert's action logs of one split, prompts included, on the CPU."""

    def count(self, name: Split) -> int:
        """Sequences of a split; a task that knows it need not make them for that."""
        return len(self.split(name))

    def oracle(self) -> Policy | None:
        """The true distribution, where it is known."""
        return None

    def notes(self) -> list[str]:
        """What a user should know of the data besides their number: a line each."""
        return []

    def slips(self, trajectories: Trajectories, uniforms_BT: Tensor) -> Tensor:
        """For every action a wrong token that a writer could plausibly have typed in its place.

        The default is a token from a random place of the training split. Tasks that know better
        say so.

        Args:
            trajectories: of an expert.
            uniforms_BT: float32 [B, T], uniform on [0, 1): all the randomness there is.

        Returns:
            int64 [B, T].
        """
        del trajectories
        if self._typed is None:
            train = self.split("train")
            is_token = train.mask_BT & (train.actions_BT < self.space.num_tokens)
            self._typed = train.actions_BT[is_token]
        return self._typed[(uniforms_BT.double() * len(self._typed)).long()]

    def score(self, trajectories: Trajectories, answers: Sequences) -> dict[str, Tensor]:
        """Task-specific quality of what was typed after the prompts of a split.

        Args:
            trajectories: one attempt at each prompt.
            answers: what the split's expert wrote after them.

        Returns:
            by name, float [B], one figure an attempt; empty where the task has none.
        """
        del trajectories, answers
        return {}
