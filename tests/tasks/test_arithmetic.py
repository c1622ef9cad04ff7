"""Sums in any base."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch

from rubout import plugins
from rubout.errors import UserError
from rubout.tape import replay, survivors
from rubout.task import Split
from rubout.tasks.arithmetic import (
    CHARACTERS,
    Arithmetic,
    draw_question,
    in_base,
    longest_text,
)
from rubout.types import Sequences, Trajectories

QUESTION = re.compile(r"In base (\d+), what is (-?[0-9a-f]+) ([+-]) (-?[0-9a-f]+)\?")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@pytest.fixture(scope="module")
def task() -> Arithmetic:
    return Arithmetic(Arithmetic.Config(train=1000, validation=100, test=200))


def questions(task: Arithmetic, name: Split) -> list[str]:
    prompts = task.split(name).prompts
    assert prompts is not None
    return [task.codec.decode(row) for row in prompts.lists()]


def check(question: str, answer: str) -> int:
    """The answer is right by Python's own reading of the digits; returns the base."""
    match = QUESTION.fullmatch(question)
    assert match, question
    base = int(match[1])
    left, right = int(match[2], base), int(match[4], base)
    assert int(answer, base) == (left + right if match[3] == "+" else left - right)
    assert answer == in_base(int(answer, base), base)  # no leading zeros, no -0, lower case
    return base


def test_every_answer_is_right(task: Arithmetic) -> None:
    for name in SPLITS:
        texts = questions(task, name)
        answers = [task.codec.decode(row) for row in task.answers(name).lists()]
        bases = [check(*pair) for pair in zip(texts, answers, strict=True)]
        assert set(bases) <= set(range(2, 17))
    assert len(questions(task, "train")) == 1000


def test_the_draw_is_as_specified() -> None:
    rng = random.Random(1)
    drawn = [draw_question(rng) for _ in range(6000)]
    bases = Counter(check(*pair) for pair in drawn)
    assert set(bases) == set(range(2, 17))
    assert min(bases.values()) > 300  # 400 expected, standard deviation 19
    parsed = [match for question, _ in drawn if (match := QUESTION.fullmatch(question))]
    for shares in (
        sum(match[3] == "+" for match in parsed),
        sum(match[2].startswith("-") for match in parsed),
    ):
        assert 0.4 < shares / len(parsed) < 0.55  # zero and small numbers are not negative
    largest = max(abs(int(match[2], int(match[1]))) for match in parsed)
    assert 10**8 < largest <= 5 * 10**9


def test_every_question_fits(task: Arithmetic) -> None:
    rng = random.Random(2)
    longest = max(
        len(question + answer) for question, answer in (draw_question(rng) for _ in range(6000))
    )
    extreme = in_base(-5 * 10**9, 2), in_base(-5, 2), in_base(-5 * 10**9 - 5, 2)
    text = f"In base 2, what is {extreme[0]} + {extreme[1]}?{extreme[2]}"
    check(text.removesuffix(extreme[2]), extreme[2])
    assert longest <= len(text) <= longest_text() == task.space.max_length


def test_the_vocabulary_is_fixed(task: Arithmetic) -> None:
    other = Arithmetic(Arithmetic.Config(train=1, validation=1, test=1, seed=5))
    assert other.codec.fingerprint == task.codec.fingerprint
    assert other.space == task.space
    assert task.space.num_tokens == len(CHARACTERS) == len(set(CHARACTERS)) == 28
    assert task.space.eos
    assert not task.space.backspace


def test_expert_logs_are_question_then_answer_then_eos(task: Arithmetic) -> None:
    data = task.split("test")
    answers = task.answers("test")
    assert torch.equal(data.num_actions_B, answers.lengths_B + 1)
    last = data.actions_BT.gather(1, (data.num_actions_B - 1).unsqueeze(1))
    assert (last == task.space.eos_id).all()
    texts = [task.codec.decode(row) for row in survivors(task.space, data).lists()]
    expected = [task.codec.decode(row) for row in answers.lists()]
    joined = [question + a for question, a in zip(questions(task, "test"), expected, strict=True)]
    assert texts == joined
    assert replay(task.space, data).linear


def test_no_held_out_question_occurs_in_training() -> None:
    # So many that the small questions do collide.
    task = Arithmetic(Arithmetic.Config(train=20000, validation=2000, test=2000))
    train, validation, test = (set(questions(task, name)) for name in SPLITS)
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_draws_are_fixed_by_the_seed_and_not_by_other_sizes() -> None:
    first = Arithmetic(Arithmetic.Config(train=50, validation=5, test=20))
    same = Arithmetic(Arithmetic.Config(train=50, validation=9, test=30))
    other = Arithmetic(Arithmetic.Config(train=50, validation=5, test=20, seed=1))
    assert questions(first, "train") == questions(same, "train")
    assert questions(first, "test") == questions(same, "test")[:20]
    assert questions(first, "train") != questions(other, "train")
    assert questions(first, "train")[:20] != questions(first, "test")


def attempts(task: Arithmetic, rows: list[list[int]]) -> Trajectories:
    """Action logs as attempts at the first questions of the test split."""
    actions = Sequences.of(rows)
    data = task.split("test")[: len(rows)]
    return replace(
        data,
        actions_BT=actions.tokens_BL,
        log_probs_BT=torch.zeros(actions.tokens_BL.shape),
        num_actions_B=actions.lengths_B,
    )


def matches(task: Arithmetic, typed: Trajectories, answers: Sequences) -> list[float]:
    scores = task.score(typed, answers)
    assert list(scores) == ["exact_match"]
    return scores["exact_match"].tolist()


def test_exact_match(task: Arithmetic) -> None:
    answers = task.answers("test")
    assert matches(task, task.split("test"), answers) == [1.0] * len(answers)
    eos, backspace = task.space.eos_id, task.space.eos_id + 1
    right = answers[:4].lists()
    wrong_digit = 5 if right[1][-1] != 5 else 6
    rows = [
        [wrong_digit, backspace, *right[0], 5, backspace, eos],  # corrected: right
        [*right[1][:-1], wrong_digit, eos],
        [*right[2], 5, eos],  # a digit too many
        [eos],
    ]
    assert matches(task, attempts(task, rows), answers[:4]) == [1.0, 0.0, 0.0, 0.0]


def test_a_backspace_does_not_reach_the_question(task: Arithmetic) -> None:
    answers = task.answers("test")[:1]
    eos, backspace = task.space.eos_id, task.space.eos_id + 1
    rows = [[backspace, backspace, *answers.lists()[0], eos]]
    assert matches(task, attempts(task, rows), answers) == [1.0]


@pytest.mark.parametrize("name", SPLITS)
def test_empty_splits_are_the_users_error(name: str) -> None:
    with pytest.raises(UserError, match=f"at least one {name} question, not 0"):
        Arithmetic(Arithmetic.Config(**{name: 0}))


def test_in_base() -> None:
    assert [in_base(*pair) for pair in ((0, 2), (-10, 2), (255, 16), (-7, 8))] == [
        "0",
        "-1010",
        "ff",
        "-7",
    ]


def test_it_is_found_by_name() -> None:
    assert plugins.find("task", "arithmetic") is Arithmetic


def test_smaller_questions() -> None:
    config = Arithmetic.Config(
        train=300, validation=20, test=40, smallest_base=7, largest_base=8, most_entropy=4.0
    )
    small = Arithmetic(config)
    texts = questions(small, "train")
    answers = [small.codec.decode(row) for row in small.answers("train").lists()]
    assert {check(*pair) for pair in zip(texts, answers, strict=True)} == {7, 8}
    longest = max(len(text + answer) for text, answer in zip(texts, answers, strict=True))
    assert longest <= small.space.max_length == longest_text(config) < longest_text()
    operands = [int(match[2], int(match[1])) for text in texts if (match := QUESTION.match(text))]
    assert 100 < max(map(abs, operands)) <= 5000


def test_the_options_leave_the_published_questions_as_they_are() -> None:
    first = Arithmetic(Arithmetic.Config(1, 1, 1))
    assert questions(first, "train") == ["In base 15, what is -3 - -104b2a?"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest_base": 1}, "bases 2 to 16"),
        ({"largest_base": 17}, "bases 2 to 16"),
        ({"smallest_base": 9, "largest_base": 8}, "bases 2 to 16"),
        ({"least_entropy": 5.0, "most_entropy": 4.0}, "in this order"),
        ({"least_entropy": 0.0}, "above 0"),
        (
            {"least_entropy": 0.5, "most_entropy": 0.5, "largest_base": 2, "train": 9000},
            "too few such questions",
        ),
    ],
)
def test_questions_that_do_not_exist(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Arithmetic(Arithmetic.Config(**options))  # type: ignore[arg-type]
