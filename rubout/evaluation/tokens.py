"""Sentences from text files, and how they are split into tokens.

Figures of different tokens cannot be compared: BLEU of characters is far above BLEU of words, and
a full stop set apart from its word is one more token that matches nearly always.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rubout.errors import UserError, nearest
from rubout.files import text_lines

Tokenizer = Callable[[str], list[str]]
TokenizerName = Literal["space", "nltk", "char"]


@dataclass(frozen=True)
class Text:
    """The sentences of a file.

    Attributes:
        sentences: the tokens of each, at least one; at least one sentence.
        blank: how many lines were skipped, having no tokens.
    """

    sentences: list[list[str]]
    blank: int


def tokenizer(name: str) -> Tokenizer:
    """A function from a line, stripped, to its tokens.

    Args:
        name: space (what stands between whitespace), nltk (NLTK's word tokenizer, the line being
            one sentence: punctuation and clitics apart) or char (each character, spaces included).

    Raises:
        UserError: there is no such tokenizer, or NLTK is not installed.
    """
    if name == "space":
        return str.split
    if name == "char":
        return list
    if name == "nltk":
        return _nltk()
    raise UserError(f"there is no tokenizer {name!r}{nearest(name, get_args(TokenizerName))}")


def read_sentences(
    path: Path, tokenize: Tokenizer, *, lowercase: bool = False, limit: int | None = None
) -> Text:
    r"""The sentences of a UTF-8 file, one a line; only the tokens are kept in memory.

    A line ends with \n or \r\n and nothing else. Whitespace around it is dropped, a byte order
    mark too, and lines without anything else are skipped: they are counted, not scored.

    Args:
        path: the file, or a pipe.
        tokenize: see `tokenizer`.
        lowercase: lower-case each line before it is split.
        limit: the most sentences to read; None: all.

    Raises:
        UserError: the file is missing, a folder, unreadable, not UTF-8 or without a sentence.
    """
    sentences: list[list[str]] = []
    shared: dict[str, str] = {}  # one object for all tokens that are equal
    blank = 0
    for line in text_lines(path):
        tokens = tokenize(line.lower() if lowercase else line)
        if tokens:
            sentences.append([shared.setdefault(token, token) for token in tokens])
        else:
            blank += 1
        if len(sentences) == limit:
            break
    if not sentences:
        raise UserError(f"{path} is empty; it must hold one sentence a line")
    return Text(sentences, blank)


def _nltk() -> Tokenizer:
    try:
        module = importlib.import_module("nltk.tokenize")
    except ModuleNotFoundError:
        raise UserError("the nltk tokenizer needs NLTK: pip install nltk") from None
    # Without punkt, which would have to be downloaded: a line is a sentence as it is.
    split: Tokenizer = module.NLTKWordTokenizer().tokenize
    return split
