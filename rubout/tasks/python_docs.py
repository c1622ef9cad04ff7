"""Real English that needs no download: the reference texts that ship with every CPython.

`pydoc_data.topics`, which `help("topics")` prints, is the Python language reference as plain text.
Code, grammar, tables and headings are left out, wrapped lines are joined, and the rest is cut into
sentences whose words and punctuation marks are tokens. The text differs between versions of Python,
and with it the vocabulary: runs to be compared need the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rubout.errors import UserError
from rubout.tasks.corpus import CorpusConfig, CorpusTask, hold_out, make_corpus

SOURCE = "Python's pydoc_data.topics"
MIN_WORDS = 4

_BULLET = re.compile(r"(?:[*-]|\d+[.)]|\[\d+\])\s+")
# Sphinx's directives and admonitions: what follows them is a sentence of its own.
_LABEL = re.compile(
    r"(?:(?:New|Changed|Added|Deprecated) (?:in version|since version) [\d.]+(?:, [^:.]*)?[:.]"
    r"|\**(?:See also|Note|Warning|CPython implementation detail):\**)\s*"
)
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[A-Z\"*(\u201c])"
)
_START = re.compile(r"[A-Z]|[\"*\u201c]+\w")
_FOOTNOTE = re.compile(r"\s*\[\d+\]")
_LITERAL = re.compile(r"\"'?([A-Za-z_][\w.]*(?:\(\)| [A-Za-z_]\w*)*|\d+)'?\"")
_EMPHASIS = re.compile(r"\*{1,2}([^*\s](?:[^*]*[^*\s])?)\*{1,2}")
_MARKS = str.maketrans("\u2019\u2014\u2013", "'--", "\u201c\u201d")  # from, to, without
_TOKEN = re.compile(
    r"e\.g\.|i\.e\.|vs\.|etc\.(?!$)"  # abbreviations
    r"|\w+(?:[.'/-]\w+)*(?:\(\))?"  # words, names, numbers, calls without arguments
    r"|[,;:.!?()-]"
)


class PythonDocs(CorpusTask):
    """Sentences of the Python language reference."""

    @dataclass(frozen=True)
    class Config(CorpusConfig):
        """Options of the task `python-docs`."""

        lowercase: bool = True
        """Lower-case the text, and later the prompts."""
        max_length: int = 30
        """Most words and punctuation marks in a sentence; longer ones are left out."""

    def __init__(self, config: Config) -> None:
        """Cut the reference into sentences and encode them.

        Raises:
            UserError: an option is not usable, or this Python comes without its topics.
        """
        if config.max_length <= MIN_WORDS:
            raise UserError(f"max_length must be above {MIN_WORDS}, not {config.max_length}")
        self.config = config
        lines = sentences(_topics(), config.max_length, lowercase=config.lowercase)
        splits = hold_out(lines, ["validation", "test"], config, SOURCE)
        super().__init__(make_corpus(splits, config, source=SOURCE))


def _topics() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(f"this Python comes without {SOURCE}; use --task FILE.txt") from None
    return [topics[name] for name in sorted(topics)]


def sentences(topics: Iterable[str], max_length: int, *, lowercase: bool) -> list[str]:
    """English sentences, tokens with spaces between them, each once, in the texts' order.

    Args:
        topics: plain text as Sphinx renders it.
        max_length: most tokens in a sentence.
        lowercase: whether sentences that differ by case alone are the same.
    """
    found: dict[str, None] = {}
    for topic in topics:
        for paragraph in paragraphs(topic):
            for sentence in _SENTENCE_END.split(paragraph):
                tokens = tokenise(sentence)
                words = sum(token[0].isalpha() for token in tokens)
                if words >= MIN_WORDS and len(tokens) <= max_length:
                    text = " ".join(tokens)
                    found[text.lower() if lowercase else text] = None
    return list(found)


def paragraphs(topic: str) -> Iterator[str]:
    """The paragraphs of a topic, wrapped lines joined, without bullets and labels.

    Blocks of other things come out as well; `tokenise` refuses what is in them.
    """
    for block in re.split(r"\n\s*\n", topic):
        parts: list[str] = []
        depth = 0
        for line in block.splitlines():
            text = line.strip()
            bullet = _BULLET.match(text)
            if bullet:
                text = text[bullet.end() :]
            indent = len(line.rstrip()) - len(text)
            if bullet or not parts or indent != depth:  # other depths: a term and its definition
                parts.append(text)
            elif re.search(r"\w-$", parts[-1]):
                parts[-1] += text  # wrapped at a hyphen
            else:
                parts[-1] += f" {text}"
            depth = indent
        for part in parts:
            yield _LABEL.sub("", part, count=1) if _LABEL.match(part) else part


def tokenise(sentence: str) -> list[str]:
    """Words and punctuation marks of an English sentence; empty where it is anything else.

    The marks of literals and emphasis go, for they are the renderer's: `"x"` is x, `*x*` is x. What
    holds code, symbols or an unfinished sentence is refused.
    """
    text = _FOOTNOTE.sub("", sentence.strip())
    if text.startswith("(") and text.endswith(".)"):
        text = text[1:-1]
    if not _START.match(text) or not text.endswith((".", "!", "?")):
        return []
    text = _EMPHASIS.sub(r"\1", _LITERAL.sub(r"\1", text)).translate(_MARKS)
    tokens = _TOKEN.findall(text)
    balanced = tokens.count("(") == tokens.count(")")
    complete = "".join(tokens) == "".join(text.split())
    return tokens if balanced and complete else []
