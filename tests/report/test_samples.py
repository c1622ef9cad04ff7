"""Samples as typed: what is struck, and what a replay types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubout.evaluation.trace import Piece, standing
from rubout.report.samples import sample_of
from rubout.tasks.codecs import CharCodec, WordCodec
from rubout.types import ActionSpace

CODEC = WordCodec(["a", "cat", "dog", "sits"])
SPACE = ActionSpace(4, 8, backspace=True)
EOS, BACK = SPACE.eos_id, SPACE.backspace_id


def record(prompt: list[int], actions: list[int]) -> dict[str, object]:
    """As training writes it: the text holds the prompt, the line does not."""
    left = standing(SPACE, prompt, actions)[-1]
    return {"text": CODEC.decode(left), "actions": actions, "log_prob": -1.0}


def typed(keys) -> str:
    """What a replay ends with."""
    tape: list[str] = []
    for key in keys:
        if key is None:
            tape.pop()
        else:
            tape.append(key)
    return "".join(tape)


def test_what_was_rubbed_out_is_struck():
    sample = sample_of(record([], [0, 1, BACK, 2, EOS]), CODEC, SPACE)
    assert sample.pieces == (
        Piece("a", struck=False),
        Piece(" cat", struck=True),
        Piece(" dog", struck=False),
    )
    assert sample.keys == ("a", " cat", None, " dog")
    assert (sample.num_keys, sample.num_rubbed) == (5, 1)


def test_the_prompt_is_what_stands_before_the_first_key():
    sample = sample_of(record([0, 1], [3, BACK, 3, EOS]), CODEC, SPACE)
    assert sample.prompt == "a cat"
    assert sample.keys == (" sits", None, " sits")


@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.sampled_from([0, 1, 2, 3, BACK]), max_size=12),
)
def test_a_replay_ends_with_the_text(prompt, actions):
    space = ActionSpace(4, 20, backspace=True)
    while actions and actions[0] == BACK:
        actions = actions[1:]
    legal: list[int] = []
    for action in actions:
        if action != BACK or len(standing(space, prompt, legal)[-1]) > len(prompt):
            legal.append(action)
    left = standing(space, prompt, legal)[-1]
    given_record = {"text": CODEC.decode(left), "actions": legal}
    sample = sample_of(given_record, CODEC, space)
    if prompt and not left[len(prompt) :]:
        assert sample.prompt == CODEC.decode(prompt)
    assert sample.prompt + typed(sample.keys) == CODEC.decode(left)


def test_a_text_that_its_keys_do_not_give_is_shown_as_it_was_left():
    sample = sample_of({"text": "sits", "actions": [0, 1, EOS]}, CODEC, SPACE)
    assert sample.pieces == (Piece("sits", struck=False),)
    assert sample.keys == ()


def test_a_long_sample_is_cut():
    codec, space = CharCodec(["a", "b"]), ActionSpace(2, 1000)
    sample = sample_of({"text": "ab" * 300, "actions": [0, 1] * 300}, codec, space)
    assert sample.cut
    assert len(sample.keys) == 200
    assert "".join(piece.text for piece in sample.pieces) == "ab" * 100


@pytest.mark.parametrize("actions", [[0, 1, 2], [0, EOS]])
def test_without_a_backspace_nothing_is_struck(actions):
    space = ActionSpace(4, 8)
    text = CODEC.decode([action for action in actions if action < 4])
    sample = sample_of({"text": text, "actions": actions}, CODEC, space)
    assert sample.pieces == (Piece(text, struck=False),)
    assert sample.num_rubbed == 0
