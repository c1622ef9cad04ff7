"""`rubout watch`, and the traces that `rubout train` ends with."""

from __future__ import annotations

import io
import itertools
import re

import pytest
import torch
from rich.console import Console

from rubout.cli import traces, watch
from rubout.cli.watch import play
from rubout.tasks.codecs import WordCodec
from rubout.types import ActionSpace, Sequences, Trajectories

CODEC = WordCodec(["two", "a", "man", "men"])
SPACE = ActionSpace(4, 4, backspace=True)
MENDED = [0, 3, 5, 2, 4]  # two men<backspace> man<eos>
SMOOTH = [1, 2, 4]


def drawn(*rows: list[int], prompts: list[list[int]] | None = None) -> Trajectories:
    typed = Sequences.of(rows)
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.ones(len(rows), dtype=torch.bool),
        policy_version_B=torch.zeros(len(rows), dtype=torch.int64),
        prompts=None if prompts is None else Sequences.of(prompts),
    )


@pytest.fixture(scope="module")
def ended(rubout, text, small, tmp_path_factory):
    """How the training of a run with a backspace ended, and the run."""
    out = tmp_path_factory.mktemp("undo") / "run"
    words = ["--env.backspace", "--learner", "tests.cli.undo_plugin:Undo"]
    ended = rubout("train", "--task", text, "--out", out, *small, *words)
    assert ended.code == 0, ended.err
    return ended, out


@pytest.fixture
def terminal(monkeypatch) -> Console:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Console(force_terminal=True, file=io.StringIO(), width=40)


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """How long the command would have slept."""
    naps: list[float] = []
    monkeypatch.setattr(watch.time, "sleep", naps.append)
    return naps


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_where_there_is_no_terminal_it_is_a_line_a_sequence(rubout, ended, naps):
    run = ended[1]
    out = rubout("watch", run, "--num", 40)
    assert out.code == 0
    assert out.err == ""
    assert naps == []
    assert "\x1b" not in out.out
    assert "~~" in out.out
    left = [re.sub("~~.*?~~", "", line) for line in out.out.split("\n")]
    assert left == rubout("generate", run, "--num", 40).out.split("\n")


def test_seed_temperature_and_checkpoint_reach_the_policy(rubout, ended):
    run = ended[1]
    plain = rubout("watch", run).out
    assert plain.count("\n") == 5
    assert rubout("watch", run).out == plain
    for words in (("--seed", 1), ("--temperature", 0.3), ("--checkpoint", "last")):
        shown, made = (rubout(name, run, "--num", 9, *words) for name in ("watch", "generate"))
        assert not shown.out.startswith(plain), words
        assert re.sub("~~.*?~~", "", shown.out) == made.out, words


def test_a_prompt_is_never_rubbed_out(rubout, ended):
    lines = rubout("watch", ended[1], "--num", 30, "--prompt", "the dog").out.splitlines()
    assert len(lines) == 30
    assert all(line.startswith("the dog") for line in lines)
    assert any("~~" in line for line in lines)


def test_a_run_without_a_backspace_is_watched_too(rubout, trained):
    out = rubout("watch", trained, "--num", 8)
    assert out.code == 0
    assert out.out == rubout("generate", trained, "--num", 8).out


def test_on_a_terminal_the_tape_is_shown_after_every_key(terminal, naps):
    play(terminal, CODEC, SPACE, drawn(MENDED, SMOOTH), speed=4.0)
    raw = written(terminal)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", raw)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\n", "\r", plain)
    parts = [text for part in plain.split("\r") if (text := part.strip())]
    shown = [text for text, _ in itertools.groupby(parts)]  # <eos> changes nothing
    first = ["two", "two men", "two", "two man", "two men man"]
    assert shown == [*first, "a", "a man", "2 sequences: 8 keys, 1 backspace among them"]
    assert naps == [0.25] * (6 + 4)
    assert re.search(r"two\x1b\[[0-9;]*9;?[0-9;]*m men\x1b\[0m man", raw), "not struck through"
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") == 2, "the cursor comes back"
    assert raw.count("\x1b[1A\x1b[2K") == 2, "the tape is still there beside its trace"


def test_at_once_means_that_nothing_moves(terminal, naps):
    play(terminal, CODEC, SPACE, drawn(MENDED), speed=0)
    assert naps == []
    assert "\x1b[?25l" not in written(terminal)
    assert written(terminal).count("\n") == 2


def test_a_terminal_that_cannot_draw_gets_plain_lines(terminal, naps, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    dumb = Console(force_terminal=True, file=io.StringIO())
    play(dumb, CODEC, SPACE, drawn(MENDED), speed=4.0)
    assert naps == []
    assert written(dumb).splitlines()[0] == "two~~ men~~ man"


def test_a_long_line_is_not_cut(terminal):
    long = ActionSpace(4, 60, backspace=True)
    play(terminal, CODEC, long, drawn([3] * 50 + [4]), speed=0)
    assert written(terminal).splitlines()[0] == " ".join(["men"] * 50)


def test_an_interruption_ends_it_quietly(rubout, ended, terminal, monkeypatch):
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    monkeypatch.setattr(watch, "Console", lambda: terminal)
    out = rubout("watch", ended[1])
    assert (out.code, out.err) == (130, "interrupted\n")
    assert written(terminal).count("\x1b[?25h") == 1, "the cursor comes back"


@pytest.mark.parametrize(
    "words",
    [
        "--num 0",
        "--speed -1",
        "--speed nan",
        "--speed 1e-320",
        "--temperature 0",
        "--threads 0",
        "--prompt quixotry",
        "--checkpoint newest",
        "--sped 3",
    ],
)
def test_bad_input_is_one_line(rubout, trained, words):
    out = rubout("watch", trained, *words.split())
    assert out.code == 2
    assert out.out == ""
    assert out.err.startswith("rubout watch: error: ")
    assert out.err.count("\n") == 1
    assert words.split()[0] in out.err
    assert ("with --unknown" in out.err) == ("quixotry" in words)


def test_generate_says_what_becomes_of_unknown_words(rubout, trained):
    out = rubout("generate", trained, "--prompt", "the quixotry")
    assert out.err.endswith(
        "--prompt has words that the run does not know: quixotry; "
        "with --unknown they become the token for unknown words\n"
    )
    assert rubout("generate", trained, "--prompt", "the quixotry", "--unknown").code == 0


def test_a_folder_without_a_run(rubout, tmp_path):
    out = rubout("watch", tmp_path)
    assert out.code == 2
    assert "holds no run" in out.err


def test_train_ends_with_traces_where_there_is_a_backspace(ended, rubout):
    out = ended[0].out
    heading = re.search(
        r"\n\n5 of 200 samples typed with a backspace, what was rubbed out between ~~ "
        r"\((\d+) rub something out\):\n((?:  .*\n){5})\n",
        out,
    )
    assert heading, out
    assert int(heading[1]) >= 5
    lines = heading[2].splitlines()
    assert all("~~" in line for line in lines)
    watched = rubout("watch", ended[1], "--num", 200).out.splitlines()
    assert [line[2:] for line in lines] == [line for line in watched if "~~" in line][:5]
    assert out.index("10 samples of ") < heading.start() < out.index("next:")
    assert "rubout watch " in out[out.index("next:") :]


def test_train_says_nothing_of_it_where_there_is_none(rubout, text, tmp_path, small):
    out = rubout("train", "--task", text, "--out", tmp_path / "run", *small).out
    assert "backspace" not in out
    assert "rubout watch" not in out


def test_traces_prefer_what_was_mended(terminal):
    rows = [SMOOTH, SMOOTH, MENDED, SMOOTH, SMOOTH, SMOOTH, MENDED]
    console = Console(file=io.StringIO(), force_terminal=False)
    traces.show(drawn(*rows), CODEC, SPACE, console)
    lines = written(console).splitlines()
    assert lines[1].startswith("5 of 7 samples")
    assert "(2 rub something out)" in lines[1]
    assert lines[2:] == ["  two~~ men~~ man"] * 2 + ["  a man"] * 3
    traces.show(drawn(*rows), CODEC, SPACE, terminal)
    assert "~~" not in written(terminal)
    assert "struck through" in written(terminal)
    assert written(terminal).count("\x1b[") == 4
    assert written(terminal).splitlines()[2].startswith("  two\x1b[")


def test_traces_say_so_where_nothing_was_rubbed_out():
    console = Console(file=io.StringIO())
    traces.show(drawn(SMOOTH, SMOOTH), CODEC, SPACE, console)
    assert written(console) == "\nin 2 samples nothing was rubbed out\n"


def test_traces_begin_with_their_prompts():
    console = Console(file=io.StringIO())
    traces.show(drawn([5, 3, 5, 2, 4], prompts=[[1]]), CODEC, SPACE, console)
    assert written(console).splitlines()[-1] == "  a~~ men~~ man"
