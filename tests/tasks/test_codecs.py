"""Text to ids and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.errors import UserError
from rubout.tasks.codecs import (
    BpeCodec,
    CharCodec,
    FiniteCodec,
    IdsCodec,
    WordCodec,
    codec_from_json,
)

ROOT = Path(__file__).parents[2]
LINES = ["the cat sat", "the dog sat", "a cat ran"]
words = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: text.split() == [text] and text != "<unk>"
)
bpe = BpeCodec.fit(LINES, limit=265)


def all_kinds() -> list[FiniteCodec]:
    return [
        WordCodec.fit(LINES),
        WordCodec(["b", "a"], lowercase=True),
        CharCodec.fit(LINES),
        bpe,
        IdsCodec(7),
    ]


def again(codec: FiniteCodec) -> FiniteCodec:
    return codec_from_json(json.loads(json.dumps(codec.to_json())))


def test_words_are_ordered_by_falling_frequency_then_text() -> None:
    codec = WordCodec.fit(LINES)
    assert codec.tokens == ("<unk>", "cat", "sat", "the", "a", "dog", "ran")
    assert codec.num_tokens == 7


def test_characters_are_ordered_by_falling_frequency_then_text() -> None:
    assert CharCodec.fit(["bab", "c\U0001f600"]).tokens == ("<unk>", "b", "a", "c", "\U0001f600")


def test_limit_counts_unk_and_min_count_drops_the_rare() -> None:
    assert WordCodec.fit(LINES, limit=3).tokens == ("<unk>", "cat", "sat")
    assert WordCodec.fit(LINES, min_count=2).tokens == ("<unk>", "cat", "sat", "the")


def test_unknown_words_become_unk_and_show_as_such() -> None:
    codec = WordCodec.fit(LINES)
    assert codec.unknown_id == 0
    assert codec.encode("the  zebra\tsat") == [3, 0, 2]
    assert codec.decode([3, 0, 2]) == "the <unk> sat"


def test_a_corpus_that_spells_unk_means_it() -> None:
    codec = WordCodec.fit(["<unk> a <unk>"])
    assert codec.tokens == ("<unk>", "a")
    assert codec.encode("a <unk>") == [1, 0]


def test_without_unk_an_unknown_token_is_the_users_error() -> None:
    codec = CharCodec("ab")
    assert codec.unknown_id is None
    assert codec.encode("ba") == [1, 0]
    with pytest.raises(UserError, match="character 'z' is not in the vocabulary"):
        codec.encode("az")


def test_lowercase_belongs_to_the_codec() -> None:
    assert WordCodec.fit(["The the THE"], lowercase=True).encode("tHe") == [1]
    assert BpeCodec.fit(LINES, limit=265, lowercase=True).encode("THE cat") == bpe.encode("the cat")
    assert bpe.encode("THE cat") != bpe.encode("the cat")


def test_bpe_learns_merges_and_takes_2000_tokens_at_most_by_default() -> None:
    assert bpe.num_tokens == 265
    assert bpe.unknown_id is None
    assert len(bpe.encode("the cat")) < len("the cat")
    corpus = [f"{number * 7919 % 100003} {number}" for number in range(3000)]
    assert BpeCodec.fit(corpus).num_tokens == 2000


def test_bpe_needs_its_bytes() -> None:
    with pytest.raises(UserError, match="at least the 256 bytes, not 255 tokens"):
        BpeCodec.fit(LINES, limit=255)


def test_an_empty_vocabulary_is_the_users_error() -> None:
    with pytest.raises(UserError, match="no word of the training text is kept with min_count=2"):
        WordCodec.fit(["one two"], min_count=2)


@pytest.mark.parametrize("tokens", [[], ["a", "a"], ["a b"], [""]])
def test_a_table_of_words_is_checked(tokens: list[str]) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        WordCodec(tokens)


def test_ids() -> None:
    codec = IdsCodec(11)
    assert codec.encode(" 0 10\t3 ") == [0, 10, 3]
    assert codec.decode([0, 10, 3]) == "0 10 3"
    for text in ("11", "-1", "x", "1.0"):
        with pytest.raises(UserError, match="not ids from 0 to 10"):
            codec.encode(text)


@pytest.mark.parametrize("codec", all_kinds(), ids=lambda codec: type(codec).__name__)
def test_ids_that_are_not_tokens_do_not_decode(codec: FiniteCodec) -> None:
    assert codec.decode([]) == ""
    for token in (-1, codec.num_tokens):
        with pytest.raises(ValueError, match="ids must be tokens"):
            codec.decode([0, token])


@given(st.lists(words, min_size=1))
def test_words_round_trip(texts: list[str]) -> None:
    codec = WordCodec.fit([" ".join(texts)])
    assert codec.decode(codec.encode(" ".join(texts))) == " ".join(texts)
    assert again(codec).to_json() == codec.to_json()


@given(st.text(min_size=1))
def test_characters_round_trip(text: str) -> None:
    codec = CharCodec.fit([text])
    assert codec.decode(codec.encode(text)) == text
    assert len(codec.encode(text)) == len(text)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_bpe_round_trips_any_text(text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@given(st.lists(st.integers(0, 6)))
def test_ids_round_trip(tokens: list[int]) -> None:
    assert IdsCodec(7).encode(IdsCodec(7).decode(tokens)) == tokens


@pytest.mark.parametrize("codec", all_kinds(), ids=lambda codec: type(codec).__name__)
def test_json_round_trip(codec: FiniteCodec) -> None:
    copy = again(codec)
    assert type(copy) is type(codec)
    assert copy.to_json() == codec.to_json()
    assert copy.fingerprint == codec.fingerprint
    assert copy.num_tokens == codec.num_tokens
    assert copy.unknown_id == codec.unknown_id
    text = "0 1" if isinstance(codec, IdsCodec) else "A b a"
    if codec.unknown_id is None and isinstance(codec, WordCodec):
        assert copy.encode(text) == codec.encode(text) == [1, 0, 1]
    else:
        assert copy.encode(text) == codec.encode(text)


def test_fingerprints_differ_where_codecs_do() -> None:
    prints = {codec.fingerprint for codec in all_kinds()}
    prints |= {WordCodec(["a", "b"], lowercase=True).fingerprint, IdsCodec(8).fingerprint}
    assert len(prints) == len(all_kinds()) + 2
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in prints)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "unknown codec 'None' (known: bpe, char, ids, word)"),
        ({"kind": "words"}, "unknown codec 'words' (did you mean word?)"),
        ({"kind": "ids"}, "the JSON of this ids codec lacks 'num_tokens'"),
        ({"kind": "ids", "num_tokens": True}, "num_tokens must be a int"),
        ({"kind": "ids", "num_tokens": 0}, "damaged"),
        ({"kind": "word", "tokens": "ab", "lowercase": False}, "tokens must be a list"),
        ({"kind": "word", "tokens": [1], "lowercase": False}, "damaged"),
        ({"kind": "char", "tokens": ["ab"], "lowercase": False}, "damaged"),
        ({"kind": "char", "tokens": ["a"], "lowercase": 1}, "lowercase must be a bool"),
        ({"kind": "bpe", "tokenizer": {"a": 1}, "lowercase": False}, "not a tokenizer"),
    ],
)
def test_damaged_json_is_one_line(data: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        codec_from_json(data)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vocabularies_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "from rubout.tasks.codecs import *\n"
        "lines = [' '.join(f'w{i * j % 37}' for i in range(1, 9)) for j in range(1, 40)]\n"
        "print([c.fit(lines).fingerprint for c in (WordCodec, CharCodec, BpeCodec)])\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 40
