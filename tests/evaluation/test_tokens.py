"""Text files as sentences of tokens."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from rubout.errors import UserError
from rubout.evaluation.tokens import read_sentences, tokenizer

SPACE = tokenizer("space")


@pytest.fixture
def file(tmp_path: Path):
    """Writes bytes, or text as UTF-8, to a file."""

    def file(content: bytes | str) -> Path:
        path = tmp_path / "text.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return file


def test_space() -> None:
    assert SPACE("a  cat.\tsits\u00a0down") == ["a", "cat.", "sits", "down"]


def test_char() -> None:
    assert tokenizer("char")("a né") == ["a", " ", "n", "é"]


def test_nltk() -> None:
    """Punctuation and clitics apart; the line is one sentence, so that its last stop alone is."""
    pytest.importorskip("nltk")
    assert tokenizer("nltk")("the cat's mat, at 3 p.m. it isn't (red).") == [
        *("the", "cat", "'s", "mat", ",", "at", "3", "p.m.", "it", "is", "n't"),
        *("(", "red", ")", "."),
    ]


def test_nltk_is_not_needed_for_the_others(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.tokenize", None)
    assert tokenizer("space")("a b") == ["a", "b"]
    with pytest.raises(UserError, match=r"pip install nltk$"):
        tokenizer("nltk")


def test_a_tokenizer_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"no tokenizer 'chars' \(did you mean char\?\)"):
        tokenizer("chars")


def test_lines(file) -> None:
    """Blank ones are counted; the last needs no end; whitespace around a line is dropped."""
    text = read_sentences(file("a b\n\n  c \r\n \t\r\nd"), SPACE)
    assert text.sentences == [["a", "b"], ["c"], ["d"]]
    assert text.blank == 2
    assert read_sentences(file("  a b \r\n"), tokenizer("char")).sentences == [["a", " ", "b"]]


@pytest.mark.parametrize("rare", ["\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_newlines_end_a_line(file, rare: str) -> None:
    text = read_sentences(file(f"a{rare}b\nc\n"), tokenizer("char"))
    assert text.sentences == [["a", rare, "b"], ["c"]]


def test_a_byte_order_mark_is_no_token(file) -> None:
    """But at the beginning of the file alone."""
    text = read_sentences(file("\ufeffa b\n\ufeffc\n"), SPACE)
    assert text.sentences == [["a", "b"], ["\ufeffc"]]


def test_lower_case(file) -> None:
    path = file("A Cat ÉTÉ\n")
    assert read_sentences(path, SPACE).sentences == [["A", "Cat", "ÉTÉ"]]
    assert read_sentences(path, SPACE, lowercase=True).sentences == [["a", "cat", "été"]]


def test_the_first_sentences(file) -> None:
    """What follows is not read, whatever it is."""
    path = file(b"\na\nb\n\n\xff\n")
    text = read_sentences(path, SPACE, limit=2)
    assert text.sentences == [["a"], ["b"]]
    assert text.blank == 1
    assert read_sentences(file("a\n"), SPACE, limit=2).sentences == [["a"]]


def test_equal_tokens_are_one_object(file) -> None:
    """So that memory goes with the places of the tokens and not with their letters."""
    (one,), (other,) = read_sentences(file("wordy\nwordy\n"), SPACE).sentences
    assert one is other


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("a b\nc\n",), daemon=True)
    writer.start()
    assert read_sentences(path, SPACE).sentences == [["a", "b"], ["c"]]
    writer.join()


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff\n"])
def test_an_empty_file(file, content: str) -> None:
    path = file(content)
    with pytest.raises(UserError, match=rf"{path} is empty; it must hold one sentence a line"):
        read_sentences(path, SPACE)


def test_not_utf_8(file) -> None:
    """The byte is named: é of Latin-1 after ten bytes."""
    path = file("a b\néa\nc ".encode() + b"\xe9t\n")
    with pytest.raises(UserError, match=rf"{path} is not UTF-8: byte 0xe9 at offset 10, line 3;"):
        read_sentences(path, SPACE)
    with pytest.raises(UserError, match="byte 0xff at offset 0, line 1"):
        read_sentences(file("a b\n".encode("utf-16")), SPACE)


def test_a_character_cut_off_at_the_end(file) -> None:
    with pytest.raises(UserError, match="byte 0xc3 at offset 2, line 1"):
        read_sentences(file(b"a \xc3"), SPACE)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    missing = tmp_path / "missing.txt"
    with pytest.raises(UserError, match=f"there is no file {missing}"):
        read_sentences(missing, SPACE)
    with pytest.raises(UserError, match=f"{tmp_path} is a folder"):
        read_sentences(tmp_path, SPACE)
    with pytest.raises(UserError, match="cannot read"):
        read_sentences(Path("a\0b"), SPACE)
