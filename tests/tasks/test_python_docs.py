"""Sentences of the Python reference."""

from __future__ import annotations

import re
import sys

import pytest

from rubout import plugins
from rubout.errors import UserError
from rubout.tape import survivors
from rubout.task import Split
from rubout.tasks.python_docs import PythonDocs, paragraphs, sentences, tokenise

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TOPIC = """\
The "try" statement
*******************

A "finally" clause is *always* executed, i.e. in both cases; see **PEP
341**.  It may follow sub-
clauses of the statement\u2019s body [1].  The form is equivalent to

   try_stmt ::= try1_stmt | try2_stmt
   If this_was_prose: return "it" + "was not".

Note:

  Calling "f.close()" twice is harmless.  (It was not before.)

* The first “item” of the
  list is fine.

* The second one follows 3.5 of them.

x.term
   The definition comes below its term.

+-----------+-----------+
| The cells | of tables |
+-----------+-----------+

Changed in version 3.8: The old behaviour is gone for good.

The expression "x[i] = 1" is code. This one ends in a colon:
"""


@pytest.fixture(scope="module")
def task() -> PythonDocs:
    return PythonDocs(PythonDocs.Config())


def test_a_topic_becomes_sentences() -> None:
    assert sentences([TOPIC], 30, lowercase=False) == [
        "A finally clause is always executed , i.e. in both cases ; see PEP 341 .",
        "It may follow sub-clauses of the statement's body .",
        "Calling f.close() twice is harmless .",
        "It was not before .",
        "The first item of the list is fine .",
        "The second one follows 3.5 of them .",
        "The definition comes below its term .",
        "The old behaviour is gone for good .",
    ]


def test_length_case_and_repetition() -> None:
    topics = ["One two three four five. One two three.", "One two Three four five."]
    assert sentences(topics, 30, lowercase=False) == [
        "One two three four five .",
        "One two Three four five .",
    ]
    assert sentences(topics, 30, lowercase=True) == ["one two three four five ."]
    assert sentences(topics, 5, lowercase=True) == []


def test_paragraphs_join_wrapped_lines() -> None:
    assert list(paragraphs("one\ntwo\n\n1. three\n   four\n2. five")) == [
        "one two",
        "three four",
        "five",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no capital letter at the start.",
        "No end",
        "Ends in a colon:",
        "It adds x += 1 to it.",
        'The call "f(x, y)" is code.',
        "An open ( parenthesis is broken.",
        ">>> Print.",
    ],
)
def test_what_is_not_a_sentence_is_refused(text: str) -> None:
    assert tokenise(text) == []


def test_punctuation_is_split_off() -> None:
    assert tokenise('"x" is a name, *y* (a number) too!') == [
        *("x", "is", "a", "name", ",", "y", "(", "a", "number", ")", "too", "!")
    ]
    assert tokenise("We have lists, tuples, etc.")[-2:] == ["etc", "."]


def test_the_corpus_reads_like_english(task: PythonDocs) -> None:
    lines = {
        name: [task.codec.decode(row) for row in survivors(task.space, task.split(name)).lists()]
        for name in SPLITS
    }
    everything = [line for split in lines.values() for line in split]
    assert len(everything) > 1000
    assert len(lines["validation"]) == len(lines["test"])
    for line in everything:
        assert re.fullmatch(r"[\w.,;:!?()'/<> -]+ [.!?]", line), line
        assert line == line.lower()
        assert 5 <= len(line.split()) <= 30
    words = " ".join(everything).split()
    assert words.count("the") / len(words) > 0.04
    known = {line for line in lines["train"] if "<unk>" not in line}
    assert len(known) > len(lines["train"]) / 3
    assert sum("_" in word or "()" in word for word in words) / len(words) < 0.05
    assert task.space.max_length <= 30


def test_no_sentence_twice() -> None:
    task = PythonDocs(PythonDocs.Config(min_count=1, level="char"))
    rows = [tuple(row) for name in SPLITS for row in _rows(task, name)]
    assert len(rows) == len(set(rows))


def _rows(task: PythonDocs, name: Split) -> list[list[int]]:
    return survivors(task.space, task.split(name)).lists()


def test_it_is_the_same_again_and_differs_by_seed(task: PythonDocs) -> None:
    same = PythonDocs(PythonDocs.Config())
    assert same.codec.fingerprint == task.codec.fingerprint
    assert _rows(same, "test") == _rows(task, "test")
    other = PythonDocs(PythonDocs.Config(seed=1))
    assert _rows(other, "test") != _rows(task, "test")


def test_options(task: PythonDocs) -> None:
    short = PythonDocs(PythonDocs.Config(max_length=12, lowercase=False, vocabulary=300))
    assert short.space.max_length == 12
    assert short.space.num_tokens == 300
    assert short.codec.encode("The the")[0] != short.codec.encode("The the")[1]
    with pytest.raises(UserError, match="max_length must be above 4, not 4"):
        PythonDocs(PythonDocs.Config(max_length=4))
    assert set(task.summary()) >= {"lines", "num_tokens", "max_length", "unknown"}


def test_a_python_without_topics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match=r"comes without .* use --task FILE.txt"):
        PythonDocs(PythonDocs.Config())


def test_it_is_found_by_name() -> None:
    assert plugins.find("task", "python-docs") is PythonDocs
