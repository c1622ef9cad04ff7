"""Samples beside real text: what every figure is made of, and that real text comes off best."""

import math

import pytest

from rubout.errors import UserError
from rubout.evaluation import language_model
from rubout.evaluation.bleu import bleu, jackknife_self_bleu
from rubout.evaluation.diversity import diversity
from rubout.evaluation.draws import draw
from rubout.evaluation.quality import NAMES, Yardstick, texts, words
from rubout.evaluation.references import uniform, unigram
from rubout.tape import survivors
from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.python_docs import PythonDocs
from rubout.types import Sequences

COUNT = 90


@pytest.fixture(name="task", scope="module")
def _task() -> PythonDocs:
    return PythonDocs(PythonDocs.Config())


@pytest.fixture(name="yardstick", scope="module")
def _yardstick(task: PythonDocs) -> Yardstick:
    return Yardstick(task, COUNT)


def test_figures_are_those_of_the_functions(task: PythonDocs, yardstick: Yardstick) -> None:
    policy = unigram(task.space, task.split("train"))
    found = yardstick.of_policy(policy, seed=3)
    assert yardstick.count == COUNT
    samples = texts(policy, task, COUNT, 3)
    read = words(task.codec, samples)
    train, test = (survivors(task.space, task.split(name)) for name in ("train", "test"))
    real = words(task.codec, test)
    assert found["bleu-3"].mean == pytest.approx(bleu(read, real)[3])
    known = jackknife_self_bleu(read)[4]
    assert found["self-bleu-4"].mean == pytest.approx(known.mean)
    assert found["self-bleu-4"].standard_error == pytest.approx(known.standard_error)
    counted = diversity(read, real, words(task.codec, train))
    assert found["distinct-2"].mean == counted["distinct-2"]
    assert found["distinct-2"].standard_error == math.inf
    assert found["copied"] == counted["copied"]
    reverse = language_model.reverse_lm_score(samples, test, task.space)
    assert found["reverse-lm-score"] == reverse
    assert set(found) - {"mauve"} == set(NAMES) - {"mauve"}


def test_real_text_comes_off_best(task: PythonDocs, yardstick: Yardstick) -> None:
    real = yardstick.of_training_data()
    noise = yardstick.of_policy(uniform(task.space), seed=0)
    assert real["copied"].mean == 1
    assert noise["copied"].mean == 0
    for name in ("lm-score", "reverse-lm-score", "frechet-distance", "length-distance"):
        assert real[name].mean < noise[name].mean, name
    assert real["bleu-2"].mean > noise["bleu-2"].mean


def test_unknown_words_are_not_drawn(task: PythonDocs) -> None:
    policy = uniform(task.space)
    unknown = task.codec.unknown_id
    assert unknown is not None
    assert any(unknown in row for row in survivors(policy.space, draw(policy, 300, 0)).lists())
    assert not any(unknown in row for row in texts(policy, task, 300, 0).lists())


def test_unknown_words_are_like_no_other(task: PythonDocs) -> None:
    """Where they were one word, real text would match real text for being unknown alike."""
    unknown = task.codec.unknown_id
    assert unknown is not None
    known = task.codec.decode([3])
    one, other = words(task.codec, Sequences.of([[3, unknown, unknown], [unknown, 3]]))
    assert one[0] == other[1] == known
    assert len({one[1], one[2], other[0]}) == 3
    assert bleu([one], [other], (1,))[1] == pytest.approx(1 / 3)
    assert bleu([one], [one], (1,))[1] == 1


def test_empty_texts_are_left_out(task: PythonDocs) -> None:
    assert words(task.codec, Sequences.of([[], [3], []])) == [[task.codec.decode([3])]]


def test_answers_have_a_score_of_their_own() -> None:
    with pytest.raises(UserError, match="tasks without prompts"):
        Yardstick(Arithmetic(Arithmetic.Config(train=200, validation=5, test=200)), 100)


def test_few_sequences_are_refused(task: PythonDocs) -> None:
    with pytest.raises(UserError, match="more than 64 sequences, not 64"):
        Yardstick(task, 64)
