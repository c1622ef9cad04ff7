"""Traces against the tape they tell of."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.checks.logs import random_logs
from rubout.evaluation.trace import (
    Piece,
    deletions,
    frames,
    logs,
    merged,
    pieces,
    plain,
    standing,
    styled,
)
from rubout.tape import survivors
from rubout.task import Codec
from rubout.tasks.codecs import BpeCodec, CharCodec, IdsCodec, WordCodec
from rubout.types import ActionSpace, Sequences, Trajectories

WORDS = WordCodec(["two", "a", "man", "men", "sits"])
SPACE = ActionSpace(5, 4, backspace=True)
EOS, BACK = SPACE.eos_id, SPACE.backspace_id


def texts(parts: list[Piece]) -> list[str]:
    return [f"-{piece.text}-" if piece.struck else piece.text for piece in parts]


def row(prompt: list[int], actions: list[int]) -> Trajectories:
    return Trajectories(
        actions_BT=torch.tensor([actions]),
        log_probs_BT=torch.zeros(1, len(actions)),
        num_actions_B=torch.tensor([len(actions)]),
        terminated_B=torch.tensor([True]),
        policy_version_B=torch.tensor([0]),
        prompts=Sequences.of([prompt]),
    )


def test_a_backspace_strikes_the_latest_piece_that_stands() -> None:
    found = pieces(WORDS, SPACE, [], [1, 2, 3, BACK, BACK, 3, 4, EOS])
    assert texts(found) == ["a", "- man-", "- men-", " men", " sits"]


def test_the_prompt_comes_first_and_is_never_struck() -> None:
    found = pieces(WORDS, SPACE, [0, 3], [BACK, 4, BACK, BACK, 2, EOS])
    assert found == [
        Piece("two men", struck=False, prompt=True),
        Piece(" sits", struck=True),
        Piece(" man", struck=False),
    ]
    assert pieces(WORDS, SPACE, [], [EOS]) == []


def test_a_first_word_rubbed_out_does_not_run_into_the_next() -> None:
    found = pieces(WORDS, SPACE, [], [0, 3, BACK, BACK, 1, BACK, 2, EOS])
    assert texts(found) == ["-two-", "- men -", "-a -", "man"]
    chars = pieces(CharCodec("abcde"), SPACE, [], [0, BACK, 1, EOS])
    assert texts(chars) == ["-a-", "b"]


@pytest.mark.parametrize(
    ("space", "actions", "expected"),
    [
        (ActionSpace(5, 2, backspace=True), [1, 2, 3, BACK, 4], ["a", "- man-", " sits"]),
        (ActionSpace(5, 4, backspace=True, forbid_redo=True), [1, BACK, 1, 2], ["-a-", "man"]),
        (ActionSpace(5, 4, backspace=True, max_backspaces=1), [1, 2, BACK, BACK], ["a", "- man-"]),
        (ActionSpace(5, 4), [1, 2, 6, 7, -3, 4, 5], ["a", " man", " sits"]),
        (ActionSpace(5, 4, eos=False, backspace=True), [1, 2, 5, 6], ["a", "- man-"]),
    ],
)
def test_what_is_illegal_adds_nothing(
    space: ActionSpace, actions: list[int], expected: list[str]
) -> None:
    # Where nothing stands, what is struck takes the space before the next word.
    found = [text.replace(" -", "-") for text in texts(pieces(WORDS, space, [], actions))]
    assert found == expected


def test_bytes_of_a_character_stand_for_themselves() -> None:
    codec = BpeCodec.fit(["aé"], limit=256)
    ids = codec.encode("aé")
    space = ActionSpace(codec.num_tokens, 4, backspace=True)
    assert len(ids) == 3
    assert [piece.text for piece in pieces(codec, space, [], ids)] == ["a", "\ufffd", "\ufffd"]


def test_merging_keeps_the_states_apart() -> None:
    parts = [
        Piece("a", struck=False, prompt=True),
        Piece("b", struck=False),
        Piece("c", struck=False),
        Piece("d", struck=True),
        Piece("e", struck=True),
        Piece("f", struck=False),
    ]
    assert merged(parts) == [
        Piece("a", struck=False, prompt=True),
        Piece("bc", struck=False),
        Piece("de", struck=True),
        Piece("f", struck=False),
    ]
    assert plain(parts) == "abc~~de~~f"
    shown = styled(parts)
    assert shown.plain == "abcdef"
    assert [(span.start, span.end, "strike" in str(span.style)) for span in shown.spans] == [
        (0, 1, False),
        (3, 5, True),
    ]
    assert shown.spans[0].style == "dim"


def test_a_trace_is_one_line() -> None:
    parts = [Piece("a\nb\r", struck=False), Piece("\u2028", struck=True)]
    assert plain(parts) == "a b ~~ ~~"
    assert styled(parts).plain == "a b  "


def test_frames_show_the_tape_as_it_stands() -> None:
    shown = frames(WORDS, SPACE, [0], [3, BACK, 2, EOS])
    assert [frame.plain for frame in shown] == ["two", "two men", "two", "two man", "two man"]
    assert all([(s.start, s.end, s.style) for s in f.spans] == [(0, 3, "dim")] for f in shown)
    assert frames(WORDS, SPACE, [], [1])[1].spans == []


def finished(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[int]:
    """The actions up to the end of the episode, where logs end."""
    if space.eos and space.eos_id in actions:
        actions = actions[: actions.index(space.eos_id) + 1]
    if not space.eos:
        lengths = [len(tokens) for tokens in standing(space, prompt, actions)]
        full = lengths.index(space.max_length) if space.max_length in lengths else len(actions)
        actions = actions[:full]
    return actions[: space.action_limit]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Codec, ActionSpace, list[int], list[int]]:
    num_tokens, length = draw(st.integers(2, 4)), draw(st.integers(1, 5))
    codec = draw(
        st.sampled_from(
            [
                WordCodec(["a", "bb", "ab", "b"][:num_tokens]),
                CharCodec("a b\n"[:num_tokens]),
                IdsCodec(num_tokens),
            ]
        )
    )
    space = ActionSpace(
        num_tokens,
        length,
        eos=draw(st.booleans()),
        backspace=draw(st.booleans()),
        forbid_redo=draw(st.booleans()),
        max_backspaces=draw(st.none() | st.integers(0, 3)),
    )
    token = st.integers(0, num_tokens - 1)
    action = token | st.integers(-1, space.size) | st.just(space.size - 1)
    prompt = draw(st.lists(token, max_size=length - 1))
    actions = draw(st.lists(action, min_size=1, max_size=14))
    return codec, space, prompt, finished(space, prompt, actions)


@settings(max_examples=150, deadline=None)
@given(world=worlds())
def test_what_is_not_struck_is_what_was_left(
    world: tuple[Codec, ActionSpace, list[int], list[int]],
) -> None:
    codec, space, prompt, actions = world
    found = pieces(codec, space, prompt, actions)
    drawn = row(prompt, actions)
    left = codec.decode(survivors(space, drawn).lists()[0])
    assert "".join(piece.text for piece in found if not piece.struck) == left
    assert re.sub("~~.*?~~", "", plain(found)) == left.replace("\n", " ")
    assert "".join(piece.text for piece in merged(found)) == "".join(piece.text for piece in found)
    assert sum(piece.struck for piece in found) == int(deletions(space, drawn))
    assert standing(space, prompt, actions)[-1] == survivors(space, drawn).lists()[0]
    assert frames(codec, space, prompt, actions)[-1].plain == left.replace("\n", " ")


def test_logs_and_deletions_of_a_batch() -> None:
    space = ActionSpace(3, 5, backspace=True)
    drawn = random_logs(space, 12, 0, with_prompts=True)
    counts = deletions(space, drawn).tolist()
    assert len(set(counts)) > 1
    assert counts == [actions.count(space.backspace_id) for _, actions in logs(drawn)]
    assert drawn.prompts is not None
    assert [prompt for prompt, _ in logs(drawn)] == drawn.prompts.lists()
    assert [len(actions) for _, actions in logs(drawn)] == drawn.num_actions_B.tolist()
    assert [prompt for prompt, _ in logs(random_logs(space, 2, 0))] == [[], []]
