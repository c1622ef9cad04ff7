"""Samples of a run, made ready to be shown as they were typed and typed again key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rubout.evaluation.trace import Piece, merged, pieces, standing
from rubout.task import Codec
from rubout.types import ActionSpace

_SHOWN = 5
_MOST_KEYS = 200  # shown of a sample; the rest would be as long and say no more


@dataclass(frozen=True)
class Sample:
    """A sequence, to be read and to be played.

    Attributes:
        pieces: what was typed, in as few pieces as can be; the prompt first.
        keys: what each key put on the tape, in order, None where it rubbed out; empty where the
            record cannot be played.
        num_keys: pressed in all, `<eos>` included.
        num_rubbed: those of them that rub out.
        cut: only the first keys are shown.
    """

    pieces: tuple[Piece, ...]
    keys: tuple[str | None, ...]
    num_keys: int
    num_rubbed: int
    cut: bool = False

    @property
    def prompt(self) -> str:
        """What stood there beforehand."""
        return "".join(piece.text for piece in self.pieces if piece.prompt)


def read_samples(path: Path, codec: Codec, space: ActionSpace) -> tuple[Sample, ...]:
    """A few samples of a file, those that rub something out before others.

    Args:
        path: samples/update-*.jsonl of a run.
        codec: of the run.
        space: of the run.

    Raises:
        KeyError, TypeError, ValueError: the file is damaged.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line.strip()]
    for record in records:
        _check(record, space)
    records.sort(key=lambda record: space.backspace_id not in record["actions"])
    return tuple(sample_of(record, codec, space) for record in records[:_SHOWN])


def sample_of(record: Mapping[str, Any], codec: Codec, space: ActionSpace) -> Sample:
    """One line of a samples file.

    A line does not hold its prompt: it is what its text has before what was left of the keys.

    Args:
        record: with `text` and `actions`.
        codec: of the run.
        space: of the run.
    """
    text, actions = str(record["text"]), list(record["actions"])
    rubbed = sum(action == space.backspace_id for action in actions)
    prompt = _prompt(text, codec, _left(actions, space))
    if prompt is None:
        return Sample((Piece(text, struck=False),), (), len(actions), rubbed)
    shown = actions[:_MOST_KEYS]
    typed = pieces(codec, space, prompt, shown)
    keys = tuple(_keys(typed[bool(prompt) :], standing(space, prompt, shown)))
    cut = len(shown) < len(actions)
    return Sample(tuple(merged(typed)), keys, len(actions), rubbed, cut)


def _check(record: Mapping[str, Any], space: ActionSpace) -> None:
    """Raise ValueError where a record's actions are none."""
    actions = record["actions"]
    if not isinstance(actions, list) or not isinstance(record["text"], str):
        raise ValueError("a sample has no text, or no list of actions")
    if not all(isinstance(action, int) and 0 <= action < space.size for action in actions):
        raise ValueError(f"an action is none: those of this run are 0 to {space.size - 1}")


def _left(actions: Sequence[int], space: ActionSpace) -> list[int]:
    """The tokens that keys typed and did not rub out."""
    left: list[int] = []
    for action in actions:
        if action < space.num_tokens:
            left.append(action)
        elif action == space.backspace_id and left:
            left.pop()
    return left


def _prompt(text: str, codec: Codec, left: list[int]) -> list[int] | None:
    """The tokens that stood before the first key; None where the text does not tell."""
    tail = codec.decode(left)
    if not text.endswith(tail):
        return None
    try:
        prompt = codec.encode(text.removesuffix(tail))
    except ValueError:
        return None
    return prompt if codec.decode([*prompt, *left]) == text else None


def _keys(typed: Sequence[Piece], states: Sequence[list[int]]) -> list[str | None]:
    """What each key that changed the tape did."""
    texts = iter(typed)
    keys: list[str | None] = []
    for before, after in pairwise(states):
        if len(after) != len(before):
            keys.append(next(texts).text if len(after) > len(before) else None)
    return keys
