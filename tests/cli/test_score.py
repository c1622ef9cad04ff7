"""`rubout score`: figures of text files through the command line, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rubout import __version__
from rubout.cli import score
from rubout.evaluation.bleu import bleu, jackknife_self_bleu, self_bleu, sentence_bleu
from rubout.evaluation.diversity import diversity
from rubout.evaluation.estimate import Estimate, mean_of

ROOT = Path(__file__).parents[2]
GENERATED = ["a cat sits on the mat", "the dog looks at a tree", "A cat sits", "one bird, two men"]
REFERENCE = ["a cat sits on a red bus", "the dog eats near the tree", "one bird", "two men run on"]
ORDERS = (2, 3, 4, 5)
FIGURES = [f"{name}-{order}" for name in ("bleu", "self-bleu") for order in ORDERS]


def split(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines]


@pytest.fixture
def write(tmp_path: Path):
    """Writes lines to a file."""

    def write(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def files(write) -> list[object]:
    """The options that name two small files."""
    generated, reference = write("generated.txt", *GENERATED), write("real.txt", *REFERENCE)
    return ["--generated", generated, "--reference", reference]


@pytest.fixture
def document(rubout):
    """Runs the command with --json, and reads what it prints."""

    def document(*words: object) -> dict[str, object]:
        ended = rubout("score", *words, "--json")
        assert ended.code == 0, ended.err
        assert ended.err == ""
        assert ended.out.count("\n") == 1
        return json.loads(ended.out)

    return document


@pytest.fixture
def refused(rubout):
    """Runs a command that must fail as a user's error; gives the line without its beginning."""

    def refused(*words: object) -> str:
        ended = rubout("score", *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.count("\n") == 1
        assert ended.err.startswith("rubout score: error: ")
        return ended.err.removeprefix("rubout score: error: ").strip()

    return refused


def test_figures(document, files) -> None:
    found = document(*files)
    assert list(found)[:8] == FIGURES
    assert list(found)[-4:] == ["intervals", "reference", "signature", "blank_lines"]
    generated, reference = split(GENERATED), split(REFERENCE)
    expected = [*bleu(generated, reference).values(), *self_bleu(generated).values()]
    assert [found[name] for name in FIGURES] == pytest.approx(expected, rel=1e-12)
    assert found["signature"] == (
        f"n:4|refs:4|tok:space|case:mixed|smooth:method1|len:closest|rubout:{__version__}"
    )
    assert found["blank_lines"] == {"generated": 0, "reference": 0}


def test_diversity_stands_beside_that_of_the_reference(document, files) -> None:
    found = document(*files, "--train", files[3])
    generated, reference = split(GENERATED), split(REFERENCE)
    expected = diversity(generated, reference, reference)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.mean if isinstance(value, Estimate) else value)
    assert found["reference"]["distinct-2"] == diversity(reference)["distinct-2"]
    assert found["reference"]["self-bleu-3"] == pytest.approx(self_bleu(reference)[3])
    assert "copied" not in document(*files)


def test_intervals(document, files, write) -> None:
    """The bootstrap's, and for Self-BLEU the jackknife's, of more sentences than groups."""
    lines = [f"{line} {word}" for line in GENERATED for word in ("now", "then", "at last")]
    generated, reference = split(lines), split(REFERENCE)
    words = ["--generated", write("more.txt", *lines), *files[2:]]
    for seed in (0, 3):
        intervals = document(*words, "--seed", seed)["intervals"]
        scores = sentence_bleu(generated, reference)
        expected = [mean_of(scores_S).interval(seed=seed) for scores_S in scores.unbind(1)]
        expected += [one.interval() for one in jackknife_self_bleu(generated, seed=seed).values()]
        assert [intervals[name] for name in FIGURES] == [
            pytest.approx(ends, rel=1e-9) for ends in expected
        ]


def test_without_intervals(document, files) -> None:
    without = document(*files, "--no-intervals")
    assert without["intervals"] == {}
    found = document(*files)
    assert [without[name] for name in FIGURES] == pytest.approx([found[name] for name in FIGURES])


def test_the_table(rubout, files) -> None:
    found = rubout("score", *files)
    assert found.code == 0
    rows = dict(re.findall(r"│ ([a-z0-9-]+) +│ +(\d\.\d{4}) │ \d\.\d{4} to \d\.\d{4} │", found.out))
    assert list(rows)[:8] == FIGURES
    assert float(rows["bleu-2"]) == pytest.approx(
        bleu(split(GENERATED), split(REFERENCE))[2], abs=5.1e-5
    )
    assert "n:4|refs:4|tok:space|case:mixed|smooth:method1|len:closest|rubout:" in found.out
    assert "note:" not in found.out
    assert "next" not in found.out
    assert "interval" not in rubout("score", *files, "--no-intervals").out


def test_tokens_and_case(document, files) -> None:
    lowered = [line.lower() for line in GENERATED]
    found = document(*files, "--lowercase")
    assert found["bleu-2"] == pytest.approx(bleu(split(lowered), split(REFERENCE))[2])
    assert "|tok:space|case:lower|" in found["signature"]
    found = document(*files, "--tokenizer", "char")
    letters = [list(line) for line in GENERATED], [list(line) for line in REFERENCE]
    assert found["bleu-5"] == pytest.approx(bleu(*letters)[5])
    assert "|tok:char|case:mixed|" in found["signature"]


def test_tokens_of_nltk(document, files) -> None:
    pytest.importorskip("nltk")
    found = document(*files, "--tokenizer", "nltk")
    apart = [*GENERATED[:3], "one bird , two men"]
    assert found["bleu-3"] == pytest.approx(bleu(split(apart), split(REFERENCE))[3])
    assert "|tok:nltk|" in found["signature"]


def test_training_sentences(rubout, document, files, write) -> None:
    """They are a second set of references, and what to score next."""
    train = write("train set.txt", *GENERATED[:2], "", "one more")
    found = document(*files, "--train", train)
    names = [f"train-bleu-{order}" for order in ORDERS]
    assert list(found)[:12] == [*FIGURES, *names]
    expected = bleu(split(GENERATED), split([*GENERATED[:2], "one more"]))
    assert [found[name] for name in names] == pytest.approx(list(expected.values()))
    assert found["intervals"].keys() >= {*FIGURES, *names}
    assert found["signature"].startswith("n:4|refs:4|train:3|tok:space|")
    assert found["blank_lines"] == {"generated": 0, "reference": 0, "train": 1}
    shown = rubout("score", *files, "--train", train, "--lowercase").out
    last = shown.splitlines()[-1].strip()
    assert last == (
        f"rubout score --generated '{train}' --reference {files[3]} --tokenizer space --lowercase "
        f"--max-sentences 4"
    )


def test_the_first_sentences(document, files) -> None:
    found = document(*files, "--max-sentences", 2)
    assert found["signature"].startswith("n:2|refs:4|")
    assert found["self-bleu-2"] == pytest.approx(self_bleu(split(GENERATED[:2]))[2])
    assert document(*files, "--max-sentences", 9) == document(*files)


def test_a_file_against_itself(document, files) -> None:
    """BLEU is 1, to the last bit, where every sentence has five tokens."""
    path = files[1]
    path.write_text("\n".join(GENERATED[:2]) + "\n")
    found = document("--generated", path, "--reference", path)
    assert [found[f"bleu-{order}"] for order in ORDERS] == [1.0] * 4
    assert found["intervals"]["bleu-5"] == [1.0, 1.0]
    path.write_text((GENERATED[0] + "\n") * 3)
    found = document("--generated", path, "--reference", path)
    assert [found[name] for name in FIGURES] == [1.0] * 8
    assert found["intervals"]["self-bleu-5"] == [1.0, 1.0]


def test_a_single_sentence(rubout, document, files, write) -> None:
    one = write("one.txt", GENERATED[0])
    found = document("--generated", one, *files[2:])
    assert [found[f"self-bleu-{order}"] for order in ORDERS] == [None] * 4
    assert found["bleu-2"] == pytest.approx(bleu(split(GENERATED[:1]), split(REFERENCE))[2])
    assert not found["intervals"].keys() & set(FIGURES)
    shown = rubout("score", "--generated", one, *files[2:]).out
    assert "note: no Self-BLEU: it needs two generated sentences" in shown


def test_two_sentences(document, files, write) -> None:
    """Self-BLEU without an interval: there is no leaving one of them out."""
    found = document("--generated", write("two.txt", *GENERATED[:2]), *files[2:])
    assert found["self-bleu-2"] == pytest.approx(self_bleu(split(GENERATED[:2]))[2])
    assert [name for name in FIGURES if name in found["intervals"]] == FIGURES[:4]


def test_blank_lines_are_reported(rubout, document, files, write) -> None:
    generated = write("gaps.txt", "", GENERATED[0], "  ", *GENERATED[1:])
    words = ["--generated", generated, *files[2:]]
    found = document(*words)
    assert found["blank_lines"] == {"generated": 2, "reference": 0}
    assert {**found, "blank_lines": None} == {**document(*files), "blank_lines": None}
    assert f"note: 2 blank lines of {generated} skipped" in rubout("score", *words).out


def test_sacrebleu(rubout, document, files) -> None:
    """The third sentence has three tokens: sacrebleu leaves BLEU-4 out, we count 0.1 of one."""
    found = document(*files, "--sacrebleu")["sacrebleu"]
    scores = sentence_bleu(split(GENERATED), split(REFERENCE), (3, 4))
    assert found["rubout"] == pytest.approx(float(scores[:, 1].mean()))
    scores[2, 1] = scores[2, 0]
    assert found["sacrebleu"] == pytest.approx(float(scores[:, 1].mean()), rel=1e-9)
    assert (found["sentences"], found["short"]) == (4, 1)
    assert found["signature"].startswith("nrefs:4|case:mixed|eff:yes|tok:none|smooth:floor[0.10]|")
    shown = rubout("score", *files, "--sacrebleu").out
    assert "sacrebleu, mean sentence BLEU-4 of all generated sentences: 0." in shown
    assert "1 sentence of fewer than 4 tokens" in shown
    assert found["signature"] in shown


def test_sacrebleu_scores_a_sample(rubout, document, files, write) -> None:
    """Characters, spaces among them, are tokens to it too; the sample is the seed's."""
    generated = write("many.txt", *(f"{number} {number % 7} cat" for number in range(1100)))
    words = ["--generated", generated, *files[2:], "--sacrebleu", "--no-intervals"]
    words += ["--tokenizer", "char"]
    found = [document(*words, "--seed", seed)["sacrebleu"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    for one in found:
        assert (one["sentences"], one["short"]) == (1000, 0)
        assert one["sacrebleu"] == pytest.approx(one["rubout"], rel=1e-9)
    assert "of 1,000 of 1,100 generated sentences" in rubout("score", *words).out


def test_a_line_of_ten_megabytes(document, write) -> None:
    """Twice as often as in the reference, of a length beyond it: half of the n-grams match."""
    half = 450_000
    generated = write("long.txt", " ".join(["abcdefghijk"] * (2 * half)))
    reference = write("half.txt", " ".join(["abcdefghijk"] * half))
    assert generated.stat().st_size > 10_000_000
    found = document("--generated", generated, "--reference", reference)
    shares = [(half - order + 1) / (2 * half - order + 1) for order in (1, 2, 3, 4, 5)]
    for order in ORDERS:
        expected = math.prod(shares[:order]) ** (1 / order)
        assert found[f"bleu-{order}"] == pytest.approx(expected, rel=1e-9)


def test_figures_to_come(files, monkeypatch, document) -> None:
    """Plain numbers stand in the table without an interval."""
    own = score.figures
    monkeypatch.setattr(score, "figures", lambda *args: own(*args) | {"distinct-1": 0.5})
    found = document(*files)
    assert found["distinct-1"] == 0.5
    assert "distinct-1" not in found["intervals"]


@pytest.mark.parametrize("role", ["--generated", "--reference", "--train"])
def test_files_that_cannot_be_scored(refused, files, write, tmp_path, role: str) -> None:
    def with_file(path: Path) -> str:
        return refused(*files, role, path)

    assert with_file(tmp_path / "no.txt") == f"there is no file {tmp_path / 'no.txt'}"
    assert with_file(tmp_path).startswith(f"{tmp_path} is a folder")
    empty = write("empty.txt", "", " ")
    assert with_file(empty) == f"{empty} is empty; it must hold one sentence a line"
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"a\ncaf\xe9\n")
    start = f"{latin} is not UTF-8: byte 0xe9 at offset 5, line 2;"
    assert with_file(latin).startswith(start)


def test_options_that_cannot_be(refused, files) -> None:
    assert "word" in refused(*files, "--tokenizer", "word")
    assert "--generated" in refused(*files[2:])
    assert "--reference" in refused(*files[:2])
    assert "did you mean --lowercase?" in refused(*files, "--lower-case")
    for words in (["--max-sentences", "-1"], ["--seed", "-1"]):
        expected = "--max-sentences and --seed must not be negative"
        assert refused(*files, *words) == expected


def test_without_nltk(refused, files, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.tokenize", None)
    assert refused(*files, "--tokenizer", "nltk").endswith("pip install nltk")


def test_what_it_does_not_load(files) -> None:
    """Neither Ray nor NLTK nor sacrebleu, where they are not asked for."""
    program = (
        "import sys; from rubout.cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code or sorted({'ray', 'nltk', 'sacrebleu'} & set(sys.modules)) or 0)"
    )
    words = [sys.executable, "-c", program, "score", *map(str, files), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["signature"].startswith("n:4|")
