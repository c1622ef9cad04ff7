"""Sentences of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rubout import plugins
from rubout.errors import UserError
from rubout.tape import survivors
from rubout.task import Split
from rubout.tasks.codecs import BpeCodec, CharCodec, WordCodec
from rubout.tasks.text import Text, read_lines

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
LINES = [f"line {number} of the text" for number in range(40)]

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(lines: list[str] | str | bytes, name: str = "corpus.txt") -> str:
        if isinstance(lines, list):
            lines = "\n".join(lines) + "\n"
        data = lines.encode() if isinstance(lines, str) else lines
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


def texts(task: Text, name: Split) -> list[str]:
    return [task.codec.decode(row) for row in survivors(task.space, task.split(name)).lists()]


def fails(config: Text.Config) -> str:
    with pytest.raises(UserError) as caught:
        Text(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lines_are_split_without_loss_and_in_order(write: Write) -> None:
    task = Text(Text.Config(write(LINES), min_count=1))
    train, validation, test = (texts(task, name) for name in SPLITS)
    assert (len(train), len(validation), len(test)) == (36, 2, 2)
    assert train == [line for line in LINES if line in train]
    unknown = [line.replace("<unk>", "") for line in validation + test]
    assert all(line.startswith("line ") and line.endswith("of the text") for line in unknown)


def test_the_seed_decides_what_is_held_out(write: Write) -> None:
    path = write(LINES)
    held = [
        texts(Text(Text.Config(path, level="char", seed=seed)), "test") for seed in (0, 0, 1, 2)
    ]
    assert held[0] == held[1]
    assert held[0] != held[2] or held[0] != held[3]
    everything = [
        line
        for name in SPLITS
        for line in texts(Text(Text.Config(path, level="char", seed=1)), name)
    ]
    assert sorted(everything) == sorted(LINES)


def test_the_expert_types_each_sentence_and_ends(write: Write) -> None:
    task = Text(Text.Config(write(["a b"] * 4)))
    data = task.split("train")
    assert task.codec.encode("a b") == [1, 2]
    assert data.actions_BT.tolist() == [[1, 2, task.space.eos_id]] * 2
    assert task.space.eos_id == task.space.num_tokens == 3
    assert task.space.max_length == 2
    assert data.policy_version_B.tolist() == [-1, -1]
    assert data.prompts is None


def test_files_of_their_own(write: Write) -> None:
    train = write(["a b", "a b c", "d"])
    config = Text.Config(
        train, validation=write(["a z a b"], "v.txt"), test=write(["b"], "t.txt"), min_count=1
    )
    task = Text(config)
    assert texts(task, "train") == ["a b", "a b c", "d"]
    assert texts(task, "validation") == ["a <unk> a b"]
    assert texts(task, "test") == ["b"]
    assert task.space.max_length == 4  # the longest of all splits
    half = Text(Text.Config(train, test=config.test, min_count=1))
    assert [len(half.split(name)) for name in SPLITS] == [2, 1, 1]


def test_whitespace_and_blank_lines(write: Write) -> None:
    path = write("\ufeff  a \t b\r\n\r\n   \n c\x0cd \n a  b ")
    test = write(["a"], "t.txt")
    word = Text(Text.Config(path, validation=test, test=test, min_count=1))
    assert texts(word, "train") == ["a b", "c d", "a b"]
    char = Text(Text.Config(path, validation=test, test=test, level="char"))
    assert texts(char, "train") == ["a \t b", "c\x0cd", "a  b"]


def test_levels_and_lowercase(write: Write) -> None:
    path = write(["The Cat"] * 9)
    expected = {"word": WordCodec, "char": CharCodec, "bpe": BpeCodec}
    for level, codec in expected.items():
        task = Text(Text.Config(path, level=level))  # type: ignore[arg-type]
        assert type(task.codec) is codec
        assert set(texts(task, "train")) == {"The Cat"}
        lower = Text(Text.Config(path, level=level, lowercase=True))
        assert set(texts(lower, "train")) == {"the cat"}
        assert lower.codec.encode("THE cat") == lower.codec.encode("the cat")


def test_rare_words_train_unk(write: Write) -> None:
    test = write(["a z"], "t.txt")
    task = Text(Text.Config(write(["a b", "a a a", "c"]), validation=test, test=test))
    assert texts(task, "train") == ["a <unk>", "a a a", "<unk>"]
    summary = task.summary()
    assert summary["unknown"] == {"train": 2 / 6, "validation": 0.5, "test": 0.5}
    assert summary["num_tokens"] == task.space.num_tokens == 2
    assert summary["max_length"] == 3
    assert summary["lines"] == {"train": 3, "validation": 1, "test": 1}
    assert summary["tokens"] == {"train": 6, "validation": 2, "test": 2}


def test_vocabulary_limit_and_line_limit(write: Write) -> None:
    path = write(LINES)
    assert Text(Text.Config(path, vocabulary=3)).space.num_tokens == 3
    task = Text(Text.Config(path, limit=5, level="char"))
    full = Text(Text.Config(path, level="char"))
    assert texts(task, "train") == texts(full, "train")[:5]
    assert len(task.split("test")) == len(full.split("test"))
    assert Text(Text.Config(path, level="bpe", vocabulary=260)).space.num_tokens == 260


def test_long_sentences(write: Write) -> None:
    path = write(["a b c d e", "a b", "a b c d", "a b c"])
    short = write(["a", "a b c d"], "t.txt")
    config = {"validation": short, "test": short, "max_length": 3, "min_count": 1}
    message = fails(Text.Config(path, **config))  # type: ignore[arg-type]
    assert "2 of 4 train, 1 of 2 validation, 1 of 2 test sentences have more than" in message
    assert "max_length=3 tokens, the longest 5; raise max_length, or set long to" in message
    dropped = Text(Text.Config(path, long="drop", **config))  # type: ignore[arg-type]
    assert texts(dropped, "train") == ["a b", "a b c"]
    assert dropped.summary()["dropped"] == {"train": 2, "validation": 1, "test": 1}
    assert dropped.summary()["truncated"] == {"train": 0, "validation": 0, "test": 0}
    cut = Text(Text.Config(path, long="truncate", **config))  # type: ignore[arg-type]
    assert texts(cut, "train") == ["a b c", "a b", "a b c", "a b c"]
    assert cut.summary()["truncated"] == {"train": 2, "validation": 1, "test": 1}
    assert cut.space.max_length == dropped.space.max_length == 3
    roomy = Text(Text.Config(path, max_length=9))
    assert roomy.space.max_length == 9


def test_dropping_every_sentence_is_an_error(write: Write) -> None:
    path = write(["a b c"] * 9)
    message = fails(Text.Config(path, max_length=2, long="drop"))
    assert "no train sentence has at most max_length=2 tokens" in message


def test_bad_files_are_one_line(write: Write, tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.txt")
    assert fails(Text.Config(path)) == f"there is no file {path}"
    assert "is a folder; name a text file" in fails(Text.Config(str(tmp_path)))
    assert "is empty" in fails(Text.Config(write("")))
    assert "is empty" in fails(Text.Config(write(" \n\t\n\r\n")))
    message = fails(Text.Config(write(b"good\nbad \xff\xfe\n")))
    assert "is not UTF-8: byte 0xff at offset 9, line 2; convert it" in message
    assert "cannot read a\0b" in fails(Text.Config("a\0b"))
    good = write(LINES)
    assert "there is no file" in fails(Text.Config(good, validation=path))
    assert "is empty" in fails(Text.Config(good, test=write("\n", "empty.txt")))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read(write: Write) -> None:
    path = write(LINES)
    Path(path).chmod(0)
    assert fails(Text.Config(path)) == f"cannot read {path}: Permission denied"


def test_too_few_lines_to_split(write: Write) -> None:
    message = fails(Text.Config(write(["a", "a"])))
    assert "has too few lines to split: 2, of which 2 would be held out; add lines" in message
    assert Text(Text.Config(write(["a", "a", "a"]), min_count=1)).space.max_length == 1
    assert "too few lines" in fails(Text.Config(write(LINES), holdout=0.999))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"holdout": 0.0}, "holdout must be between 0 and 1, not 0"),
        ({"holdout": 1.0}, "holdout must be between 0 and 1, not 1"),
        ({"max_length": -1}, "max_length must not be negative"),
        ({"limit": -1}, "limit must not be negative"),
        ({"vocabulary": -1}, "vocabulary must not be negative"),
        ({"min_count": 0}, "min_count at least 1"),
        ({"min_count": 99}, "no word of the training text is kept with min_count=99"),
        ({"level": "byte"}, "level must be one of word, char, bpe, not 'byte'"),
        ({"long": "cut"}, "long must be one of error, drop, truncate, not 'cut'"),
        ({"level": "bpe", "vocabulary": 100}, "at least the 256 bytes, not 100"),
    ],
)
def test_bad_options_are_one_line(write: Write, options: dict[str, object], says: str) -> None:
    assert says in fails(Text.Config(write(LINES), **options))  # type: ignore[arg-type]


def test_the_same_in_every_process(write: Write) -> None:
    path = write([f"w{number % 7} w{number % 11} w{number % 13}" for number in range(200)])
    program = (
        "import sys; from rubout.tasks.text import Text\n"
        "task = Text(Text.Config(sys.argv[1]))\n"
        "print(task.codec.fingerprint, task.split('test').actions_BT.tolist())\n"
    )
    task = Text(Text.Config(path))
    here = f"{task.codec.fingerprint} {task.split('test').actions_BT.tolist()}\n"
    output = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output == here


def test_image_coco() -> None:
    path, test = (str(DATA / f"image_coco_{name}.txt") for name in ("train", "test"))
    if not Path(path).exists():
        pytest.skip(f"{path} is not here")
    task = Text(Text.Config(path, test=test))
    assert [len(task.split(name)) for name in SPLITS] == [9500, 500, 10000]
    summary = task.summary()
    unknown = summary["unknown"]
    assert isinstance(unknown, dict)
    assert 0 < unknown["train"] < unknown["test"] < 0.1
    sentence = "a black honda motorcycle parked in front of a garage."
    assert sentence in read_lines(path)
    assert sentence in texts(task, "train")
    assert int(task.split("test").actions_BT.max()) == task.space.eos_id
    assert task.split("train").actions_BT.dtype == torch.int64


def test_it_is_found_by_name() -> None:
    assert plugins.find("task", "text") is Text
