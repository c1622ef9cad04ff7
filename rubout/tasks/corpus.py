"""Lines as a corpus: which are held out, the vocabulary, the action space, token ids.

Every task over real text stands on it: `text`, `python_docs`.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rubout.errors import UserError
from rubout.tape import written
from rubout.task import Split, Task
from rubout.tasks.codecs import BpeCodec, CharCodec, FiniteCodec, WordCodec
from rubout.types import ActionSpace, Sequences, Trajectories

Level = Literal["word", "char", "bpe"]
Long = Literal["error", "drop", "truncate"]
Rows = Mapping[Split, list[list[int]]]


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How lines become tokens, and which of them are held out."""

    # One line each: the command line prints them, line breaks included.
    level: Level = "word"
    """What a token is: a word (between whitespace), a character or a byte-level BPE piece."""
    lowercase: bool = False
    """Lower-case the text, and later the prompts."""
    vocabulary: int = 0
    """Most tokens, the most frequent are kept; 0: no limit, for bpe 2,000."""
    min_count: int = 2
    """Words rarer than this in the training lines become <unk>, which trains <unk>; 1: none."""
    holdout: float = 0.1
    """Share of the lines held out, half for validation, half for test, at least a line each."""
    seed: int = 0
    """Which lines are held out."""


@dataclass(frozen=True)
class Corpus:
    """Lines, encoded.

    Attributes:
        codec: the vocabulary of the training lines.
        space: tokens and `<eos>`; the tape is as long as the longest sentence may be.
        sequences: each split's sentences.
        summary: figures to report, see `Text.summary`.
    """

    codec: FiniteCodec
    space: ActionSpace
    sequences: Mapping[Split, Sequences]
    summary: Mapping[str, object]


class CorpusTask(Task):
    """A task whose data are the sentences of a corpus; subclasses say where the lines are from."""

    @abstractmethod
    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.codec: FiniteCodec = corpus.codec
        self.space = corpus.space

    def split(self, name: Split) -> Trajectories:
        """The sentences of one split as an expert types them."""
        return written(self.space, self._corpus.sequences[name])

    def notes(self) -> list[str]:
        """What was left out of the lines, and how much of them the vocabulary does not hold."""
        found = []
        for what in ("dropped", "truncated"):
            counts: Any = self._corpus.summary[what]
            if any(counts.values()):
                parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
                limit = self._corpus.summary["max_length"]
                found.append(f"{what}: {parts} sentences of more than {limit} tokens")
        shares: Any = self._corpus.summary["unknown"]
        if any(shares.values()):
            parts = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
            found.append(f"outside the vocabulary, <unk>: {parts} tokens")
        return found

    def summary(self) -> dict[str, object]:
        """Figures to report.

        Returns:
            num_tokens, max_length, level, and by split: lines (sentences used), tokens, unknown
            (share of the tokens that are `<unk>`), dropped and truncated (sentences).
        """
        return dict(self._corpus.summary)


def hold_out(
    lines: list[str], names: list[Split], config: CorpusConfig, source: str
) -> dict[Split, list[str]]:
    """Set lines aside by a seeded shuffle; the file's order is kept within each split.

    Args:
        lines: all of them.
        names: the splits to set aside; half of `config.holdout`, at least a line, for each.
        config: holdout and seed.
        source: what the lines are called in errors.

    Returns:
        `train` and the splits named.

    Raises:
        UserError: the share is not between 0 and 1, or no line would be left to train on.
    """
    if names and not 0 < config.holdout < 1:
        raise UserError(f"holdout must be between 0 and 1, not {config.holdout:g}")
    each = max(1, round(len(lines) * config.holdout / 2))
    if len(lines) <= each * len(names):
        raise UserError(
            f"{source} has too few lines to split: {len(lines)}, of which {each * len(names)} "
            f"would be held out; add lines, lower holdout, or give files for validation and test"
        )
    order = list(range(len(lines)))
    random.Random(config.seed).shuffle(order)
    chosen: dict[Split, list[int]] = {"train": order[len(names) * each :]}
    for index, name in enumerate(names):
        chosen[name] = order[index * each : (index + 1) * each]
    return {name: [lines[row] for row in sorted(rows)] for name, rows in chosen.items()}


def make_corpus(
    splits: Mapping[Split, list[str]],
    config: CorpusConfig,
    *,
    source: str,
    max_length: int = 0,
    long: Long = "error",
) -> Corpus:
    """Learn the vocabulary of the training lines and encode all splits.

    Args:
        splits: lines that are not blank, by split; none empty.
        config: level and vocabulary.
        source: what the lines are called in errors.
        max_length: most tokens in a sentence; 0: the longest there is.
        long: what happens to longer sentences.

    Raises:
        UserError: an option is out of its range, or sentences are too long.
    """
    codec = _fit(splits["train"], config)
    rows = {name: [codec.encode(line) for line in lines] for name, lines in splits.items()}
    limit = max_length or max(len(row) for split in rows.values() for row in split)
    too_long = {name: sum(len(row) > limit for row in split) for name, split in rows.items()}
    sequences = {
        name: Sequences.of(split) for name, split in _shorten(rows, limit, long, source).items()
    }
    nothing = dict.fromkeys(too_long, 0)
    summary: dict[str, object] = {
        "level": config.level,
        "num_tokens": codec.num_tokens,
        "max_length": limit,
        "lines": {name: len(split) for name, split in sequences.items()},
        "tokens": {name: int(split.lengths_B.sum()) for name, split in sequences.items()},
        "unknown": {name: _unknown(codec, split) for name, split in sequences.items()},
        "dropped": too_long if long == "drop" else nothing,
        "truncated": too_long if long == "truncate" else nothing,
    }
    return Corpus(codec, ActionSpace(codec.num_tokens, limit), sequences, summary)


def _shorten(rows: Rows, limit: int, long: Long, source: str) -> Rows:
    """Do with the sentences of more than `limit` tokens what `long` says."""
    if limit < 0:
        raise UserError(f"max_length must not be negative, not {limit}")
    if long == "truncate":
        return {name: [row[:limit] for row in split] for name, split in rows.items()}
    kept = {name: [row for row in split if len(row) <= limit] for name, split in rows.items()}
    if long == "drop":
        for name, split in kept.items():
            if not split:
                raise UserError(
                    f"{source}: no {name} sentence has at most max_length={limit} tokens; raise it"
                )
        return kept
    if long != "error":
        raise UserError(f"long must be one of {', '.join(get_args(Long))}, not {long!r}")
    if kept != rows:
        counts = ", ".join(
            f"{len(split) - len(kept[name])} of {len(split)} {name}" for name, split in rows.items()
        )
        longest = max(len(row) for split in rows.values() for row in split)
        raise UserError(
            f"{source}: {counts} sentences have more than max_length={limit} tokens, the longest "
            f"{longest}; raise max_length, or set long to drop or truncate"
        )
    return rows


def _fit(lines: list[str], config: CorpusConfig) -> FiniteCodec:
    if config.vocabulary < 0 or config.min_count < 1:
        raise UserError("vocabulary must not be negative, and min_count at least 1")
    limit, lowercase = config.vocabulary, config.lowercase
    match config.level:
        case "word":
            return WordCodec.fit(
                lines, limit=limit, min_count=config.min_count, lowercase=lowercase
            )
        case "char":
            return CharCodec.fit(lines, limit=limit, lowercase=lowercase)
        case "bpe":
            return BpeCodec.fit(lines, limit=limit, lowercase=lowercase)
    raise UserError(f"level must be one of {', '.join(get_args(Level))}, not {config.level!r}")


def _unknown(codec: FiniteCodec, sequences: Sequences) -> float:
    """The share of a split's tokens that are `<unk>`."""
    if codec.unknown_id is None:
        return 0.0
    unknown_BL = (sequences.tokens_BL == codec.unknown_id) & sequences.mask_BL
    return int(unknown_BL.sum()) / int(sequences.lengths_B.sum())
