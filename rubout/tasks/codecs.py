"""Text to token ids and back: words, characters, byte-level BPE, and bare ids.

A codec is saved with a run as JSON and made again by `codec_from_json`, so generating needs no
corpus. Vocabularies are ordered by falling frequency, ties by text, so the same corpus gives the
same ids in every process.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from rubout.errors import UserError, nearest
from rubout.task import Codec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Field = TypeVar("Field")

UNKNOWN = "<unk>"
DEFAULT_BPE_TOKENS = 2000
_BYTES = 256  # the alphabet that every byte-level vocabulary starts from


class FiniteCodec(Codec, ABC):
    """A codec that knows how many tokens it has, and its own fingerprint."""

    kind: ClassVar[str]  # its name in JSON

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """V."""

    @property
    def fingerprint(self) -> str:
        """12 hex digits of the SHA-256 of the JSON: equal exactly for equal codecs."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _check(self, tokens: Sequence[int]) -> None:
        """Raise ValueError where an id is not a token."""
        if tokens and not (min(tokens) >= 0 and max(tokens) < self.num_tokens):
            raise ValueError(f"ids must be tokens, 0 to {self.num_tokens - 1}")


class _TableCodec(FiniteCodec):
    """What words and characters share: a table of tokens."""

    noun: ClassVar[str]
    joiner: ClassVar[str]

    def __init__(self, tokens: Iterable[str], *, lowercase: bool = False) -> None:
        """A codec of these tokens.

        Args:
            tokens: by id; `<unk>`, where there is one, comes first.
            lowercase: lower-case every text before it is encoded.

        Raises:
            ValueError: no tokens, one of them twice, or one that no text contains.
        """
        self.tokens = tuple(tokens)
        self.lowercase = lowercase
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        self._has_unknown = self.tokens[:1] == (UNKNOWN,)
        if not self.tokens or len(self._ids) != len(self.tokens):
            raise ValueError("a vocabulary needs tokens, each of them once")
        known = self.tokens[1:] if self._has_unknown else self.tokens
        if not all(isinstance(token, str) and [*self._pieces(token)] == [token] for token in known):
            raise ValueError(f"a vocabulary of {self.noun}s holds something else")

    @classmethod
    def fit(
        cls, lines: Iterable[str], *, limit: int = 0, min_count: int = 1, lowercase: bool = False
    ) -> Self:
        """The vocabulary of a corpus, `<unk>` at id 0.

        Args:
            lines: the corpus.
            limit: most tokens, `<unk>` included; 0: no limit.
            min_count: what is rarer becomes `<unk>`.
            lowercase: lower-case it, and every text encoded later.

        Raises:
            UserError: nothing occurs often enough.
        """
        counts: Counter[str] = Counter()
        for line in lines:
            counts.update(cls._pieces(line.lower() if lowercase else line))
        del counts[UNKNOWN]
        frequent = [token for token, count in counts.items() if count >= min_count]
        ranked = sorted(frequent, key=lambda token: (-counts[token], token))
        kept = ranked[: limit - 1] if limit else ranked
        if not kept:
            raise UserError(
                f"the vocabulary would be {UNKNOWN} alone: no {cls.noun} of the training text "
                f"is kept with min_count={min_count} and vocabulary={limit}; lower min_count"
            )
        return cls((UNKNOWN, *kept), lowercase=lowercase)

    @staticmethod
    @abstractmethod
    def _pieces(text: str) -> Iterable[str]:
        """The text, cut."""

    @property
    def num_tokens(self) -> int:
        """V, `<unk>` included."""
        return len(self.tokens)

    @property
    def unknown_id(self) -> int | None:
        """0 where the vocabulary has `<unk>`, else None."""
        return 0 if self._has_unknown else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; UserError where it has unknowns and the vocabulary no `<unk>`."""
        pieces = self._pieces(text.lower() if self.lowercase else text)
        ids = self._ids
        if self._has_unknown:
            return [ids.get(piece, 0) for piece in pieces]
        try:
            return [ids[piece] for piece in pieces]
        except KeyError as error:
            raise UserError(f"{self.noun} {error.args[0]!r} is not in the vocabulary") from None

    def decode(self, tokens: list[int]) -> str:
        """The text of token ids; ValueError for ids that are not tokens."""
        self._check(tokens)
        return self.joiner.join([self.tokens[token] for token in tokens])

    def to_json(self) -> dict[str, object]:
        """Kind, tokens by id, lower-casing."""
        return {"kind": self.kind, "tokens": list(self.tokens), "lowercase": self.lowercase}


class WordCodec(_TableCodec):
    """Words are what stands between whitespace; decoding joins them with single spaces."""

    kind = noun = "word"
    joiner = " "

    @staticmethod
    def _pieces(text: str) -> Iterable[str]:
        return text.split()


class CharCodec(_TableCodec):
    """Every character (Unicode code point) is a token."""

    kind, noun = "char", "character"
    joiner = ""

    @staticmethod
    def _pieces(text: str) -> Iterable[str]:
        return text


class BpeCodec(FiniteCodec):
    """Byte-level byte-pair encoding: any text can be encoded, nothing is unknown."""

    kind = "bpe"

    def __init__(self, tokenizer: Tokenizer, *, lowercase: bool = False) -> None:
        """A codec around a trained byte-level BPE of the `tokenizers` package."""
        self._tokenizer = tokenizer
        self.lowercase = lowercase

    @classmethod
    def fit(cls, lines: Iterable[str], *, limit: int = 0, lowercase: bool = False) -> BpeCodec:
        """Merges learned from a corpus.

        Args:
            lines: the corpus.
            limit: most tokens; 0: 2,000. UserError where it is below 256.
            lowercase: lower-case it, and every text encoded later.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        limit = limit or DEFAULT_BPE_TOKENS
        if limit < _BYTES:
            raise UserError(f"a bpe vocabulary holds at least the 256 bytes, not {limit} tokens")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=limit,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        corpus = (line.lower() if lowercase else line for line in lines)
        tokenizer.train_from_iterator(corpus, trainer)
        return cls(tokenizer, lowercase=lowercase)

    @property
    def num_tokens(self) -> int:
        """V: 256 bytes and the merges."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text.lower() if self.lowercase else text).ids)

    def decode(self, tokens: list[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD."""
        self._check(tokens)
        return str(self._tokenizer.decode(tokens))

    def to_json(self) -> dict[str, object]:
        """Kind, lower-casing, and the JSON of the `tokenizers` package."""
        model = json.loads(self._tokenizer.to_str())
        return {"kind": self.kind, "lowercase": self.lowercase, "tokenizer": model}


class IdsCodec(FiniteCodec):
    """Bare ids, for synthetic tasks: the text is integers with spaces between them."""

    kind = "ids"

    def __init__(self, num_tokens: int) -> None:
        """A codec of the ids 0 to num_tokens - 1; ValueError where there are none."""
        if num_tokens < 1:
            raise ValueError("a vocabulary needs tokens, each of them once")
        self._num_tokens = num_tokens

    @property
    def num_tokens(self) -> int:
        """V."""
        return self._num_tokens

    def encode(self, text: str) -> list[int]:
        """The ids written in a text; UserError where a word is not an integer from 0 to V-1."""
        try:
            tokens = [int(word) for word in text.split()]
            self._check(tokens)
        except ValueError:
            last = self._num_tokens - 1
            raise UserError(f"the text is not ids from 0 to {last} with spaces between") from None
        return tokens

    def decode(self, tokens: list[int]) -> str:
        """The ids, with spaces between them."""
        self._check(tokens)
        return " ".join(map(str, tokens))

    def to_json(self) -> dict[str, object]:
        """Kind and V."""
        return {"kind": self.kind, "num_tokens": self._num_tokens}


def codec_from_json(data: Mapping[str, object]) -> FiniteCodec:
    """The codec whose `to_json` gave this; UserError where it is not a codec's JSON."""
    kind = str(data.get("kind"))
    if kind not in _KINDS:
        raise UserError(f"unknown codec {kind!r}{nearest(kind, _KINDS)}")
    try:
        return _KINDS[kind](data)
    except KeyError as error:
        raise UserError(f"the JSON of this {kind} codec lacks {error.args[0]!r}") from error
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the JSON of this {kind} codec is damaged: {reason}") from error


def _bpe(data: Mapping[str, object]) -> BpeCodec:
    from tokenizers import Tokenizer

    model = _field(data, "tokenizer", dict)
    try:
        tokenizer = Tokenizer.from_str(json.dumps(model))
    except Exception as error:  # the package raises bare Exceptions
        raise ValueError(f"not a tokenizer: {error}") from error
    return BpeCodec(tokenizer, lowercase=_field(data, "lowercase", bool))


def _field(data: Mapping[str, object], key: str, kind: type[Field]) -> Field:
    value = data[key]
    if type(value) is not kind:  # not isinstance: True is an int
        raise TypeError(f"{key} must be a {kind.__name__}")
    return value


def _table(codec: type[_TableCodec], data: Mapping[str, object]) -> _TableCodec:
    tokens: list[str] = _field(data, "tokens", list)
    return codec(tokens, lowercase=_field(data, "lowercase", bool))


_KINDS: dict[str, Callable[[Mapping[str, object]], FiniteCodec]] = {
    "word": lambda data: _table(WordCodec, data),
    "char": lambda data: _table(CharCodec, data),
    "bpe": _bpe,
    "ids": lambda data: IdsCodec(_field(data, "num_tokens", int)),
}
