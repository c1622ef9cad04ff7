"""Figures on the backspace in test data, scored one state at a time; where figures come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rubout.checks import random_logs
from rubout.evaluation.backspaces import (
    TITLES,
    nll_without,
    of_samples,
    of_test_data,
    prefixes,
)
from rubout.evaluation.evaluate import evaluate, figures
from rubout.evaluation.nll import nll
from rubout.evaluation.references import ConstantPolicy
from rubout.keys import blank, press
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.policy import Policy
from rubout.tape import written
from rubout.task import Codec, Split, Task
from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.codecs import IdsCodec
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(5, 6, backspace=True)
BACK = SPACE.backspace_id


def typed_rows(prefix: Trajectories) -> list[list[int]]:
    """Without padding, of which there is nothing but zeros."""
    assert not prefix.actions_BT[~prefix.mask_BT].any()
    return Sequences(prefix.actions_BT, prefix.num_actions_B).lists()


class Small(Task):
    """Some text; a slip is any wrong token, and in every fourth row the right one after all."""

    codec: Codec = IdsCodec(5)

    def __init__(
        self, space: ActionSpace, rows: list[list[int]], prompts: list[list[int]] | None = None
    ) -> None:
        self.space = space
        given = None if prompts is None else Sequences.of(prompts)
        self.test = written(space, Sequences.of(rows), given)

    def split(self, name: Split) -> Trajectories:
        return self.test

    def slips(self, trajectories: Trajectories, uniforms_BT: Tensor) -> Tensor:
        wrong = (trajectories.actions_BT + 1 + (4 * uniforms_BT).long()) % 5
        wrong[::4] = trajectories.actions_BT[::4]
        return wrong


ROWS = [[0, 1, 2, 3], [4, 4, 0, 1], [2], [1, 3], [], [3, 0, 2]] * 24
PROMPTS = [[1], [2, 0], [3, 3, 1], [], [4], [2, 2]] * 24


def lstm(space: ActionSpace) -> LSTMPolicy:
    torch.manual_seed(0)
    return LSTMPolicy(space, LSTMConfig(embedding=6, hidden=7, dropout=0.3, init_std=0.7))


def transformer(space: ActionSpace) -> TransformerPolicy:
    torch.manual_seed(0)
    return TransformerPolicy(space, TransformerConfig(width=8, layers=1, heads=2))


@pytest.mark.parametrize("eos", [True, False])
def test_prefixes_are_real_but_for_the_slip(eos: bool) -> None:
    full = [[(row + place) % 5 for place in range(6 - len(p))] for row, p in enumerate(PROMPTS)]
    texts = ROWS if eos else full
    space = ActionSpace(5, 6, eos=eos, backspace=True)
    task = Small(replace(space, backspace=False), texts, PROMPTS)
    wrong, right = prefixes(space, task, task.test)
    rows = [row for row, text in enumerate(texts) if text]  # the others have no place
    places, slips, ends = set(), set(), {}
    assert right.prompts is not None
    assert right.prompts.lists() == [PROMPTS[row] for row in rows]
    for row, typed in zip(rows, typed_rows(right), strict=True):
        assert typed == [*texts[row][: len(typed) - 1], space.backspace_id]
        places.add((len(texts[row]), len(typed) - 1))
        ends[row] = len(typed)
    # Every place there is; on a full tape without <eos> nothing can follow the last.
    sizes = {size for size, _ in places}
    assert places == {(size, at) for size in sizes for at in range(1, size + int(eos))}

    rows = [row for row in rows if row % 4]
    assert wrong.prompts is not None
    assert wrong.prompts.lists() == [PROMPTS[row] for row in rows]
    for row, typed in zip(rows, typed_rows(wrong), strict=True):
        *before, slip, last = typed
        assert before == texts[row][: len(before)]
        assert last == space.backspace_id
        assert len(typed) == ends[row], "at the same places"
        slips.add((slip - texts[row][len(before)]) % 5)
    assert slips == {1, 2, 3, 4}


def test_prefixes_depend_on_the_number_of_the_sequence_alone() -> None:
    task = Small(ActionSpace(5, 6), ROWS, PROMPTS)
    _, right = prefixes(SPACE, task, task.test)
    _, fewer = prefixes(SPACE, task, task.test[:60])
    width = fewer.actions_BT.shape[1]
    assert fewer.actions_BT.equal(right.actions_BT[: len(fewer), :width])
    torch.manual_seed(7)
    assert prefixes(SPACE, task, task.test)[1].actions_BT.equal(right.actions_BT)


def test_the_limit_on_actions_leaves_room_for_the_backspace() -> None:
    task = Small(ActionSpace(5, 6), ROWS)
    _, right = prefixes(replace(SPACE, max_actions=3), task, task.test)
    assert set(right.num_actions_B.tolist()) == {2, 3}
    found = of_test_data(lstm(replace(SPACE, max_actions=1)), task, task.test)
    assert set(found) == {"nll_test_without"}


def chances(policy: Policy, prefix: Trajectories, temperature: float) -> list[float]:
    """P(backspace) after each prefix, key by key."""
    found = []
    for row in range(len(prefix)):
        one = prefix[row : row + 1]
        state = blank(policy.space, 1, one.prompts, "cpu")
        typing = policy.eval().start(1, one.prompts)
        for action in one.actions_BT[0, : int(one.num_actions_B) - 1]:
            state, keys = press(policy.space, state, action.view(1))
            typing.step(action.view(1), keys)
        legal = policy.space.mask(state.legality(policy.space))
        logits = (typing.logits().detach() / temperature).masked_fill(~legal, -torch.inf)
        found.append(float(logits.softmax(1)[0, policy.space.backspace_id]))
    return found


@pytest.mark.parametrize("make", [lstm, transformer])
@pytest.mark.parametrize("with_prompts", [False, True])
def test_corrected_errors_and_false_alarms_key_by_key(make, with_prompts: bool) -> None:
    task = Small(ActionSpace(5, 6), ROWS, PROMPTS if with_prompts else None)
    policy = make(SPACE)
    policy.train()
    found = of_test_data(policy, task, task.test, temperature=0.8)
    assert policy.training
    wrong, right = prefixes(SPACE, task, task.test)
    for name, prefix in (("corrected_errors", wrong), ("false_alarms", right)):
        expected = chances(policy, prefix, 0.8)
        assert found[name].mean == pytest.approx(sum(expected) / len(expected), rel=1e-5)
        assert found[name].count == len(expected)
        assert found[name].standard_error > 0
    assert found["nll_test_without"] == nll_without(policy, task.test, 0.8)
    assert found["corrected_errors"].mean != pytest.approx(found["false_alarms"].mean, rel=1e-4)


def test_a_policy_that_knows_nothing_rubs_out_right_and_wrong_alike() -> None:
    task = Small(ActionSpace(5, 9), ROWS)
    space = ActionSpace(5, 9, backspace=True)
    policy = ConstantPolicy(space, torch.zeros(7))
    found = of_test_data(policy, task, task.test)
    assert found["corrected_errors"].mean == pytest.approx(1 / 7)
    assert found["false_alarms"].mean == pytest.approx(1 / 7)
    never = ConstantPolicy(replace(space, max_backspaces=0), torch.zeros(7))
    assert of_test_data(never, task, task.test)["corrected_errors"].mean == 0


@pytest.mark.parametrize("make", [lstm, transformer])
def test_nll_without_is_renormalised(make) -> None:
    task = Small(ActionSpace(5, 6), ROWS, PROMPTS)
    policy, test = make(SPACE).eval(), task.test
    found = nll_without(policy, test, temperature=1.3)
    rows_BTA = policy.score(test, {"log_softmax"}, 1.3).log_softmax_BTA.detach().double()
    chosen = rows_BTA.gather(2, test.actions_BT.unsqueeze(2)).squeeze(2)
    others = torch.log1p(-rows_BTA[:, :, BACK].exp())
    expected = -(chosen - others)[test.mask_BT].sum() / test.num_actions_B.sum()
    assert found.mean == pytest.approx(float(expected), rel=1e-5)
    assert found.mean < nll(policy, test, temperature=1.3).mean - 1e-3
    assert policy.space == SPACE, "the key is back"


def test_the_space_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = lstm(SPACE)
    monkeypatch.setattr(policy, "score", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nll_without(policy, Small(SPACE, ROWS).test)
    assert policy.space is SPACE


def test_only_policies_with_a_backspace_have_the_figures() -> None:
    task = Arithmetic(Arithmetic.Config(train=20, validation=5, test=20))
    space = replace(task.space, backspace=True)
    rows = {row.name: row.figures for row in evaluate(lstm(space), task, num_samples=10)}
    extra = set(rows["model"]) - {"nll_test", "exact_match"}
    assert extra == set(TITLES)
    for name in ("unigram", "uniform"):
        assert set(rows[name]) == {"nll_test", "exact_match"}
    assert set(figures(lstm(task.space), task, task.split("test"), 10, 0)) == set(rows["uniform"])
    assert rows["model"]["backspace_rate"].count == 10, "of the draws that were scored"


@pytest.mark.parametrize("kind", ["plain", "prompted", "with an oracle"])
def test_every_row_is_drawn_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(policy: Policy, number: int, *_: object, **__: object) -> Trajectories:
        drawn.append(number)
        return random_logs(policy.space, number, len(drawn))

    monkeypatch.setattr("rubout.evaluation.evaluate.draw", draw)
    task = Small(ActionSpace(5, 6), ROWS, PROMPTS if kind == "prompted" else None)
    if kind == "with an oracle":
        monkeypatch.setattr(task, "oracle", lambda: lstm(task.space))
    found = figures(lstm(SPACE), task, task.test, 30, 0)
    assert drawn == [30]
    expected = of_samples(SPACE, random_logs(SPACE, 30, 1))
    assert {name: found[name] for name in expected} == expected
    assert set(expected) == TITLES.keys() - {"corrected_errors", "false_alarms", "nll_test_without"}


def test_nothing_is_drawn_where_nothing_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rubout.evaluation.evaluate.draw", lambda *_, **__: 1 / 0)
    task = Small(ActionSpace(5, 6), ROWS)
    assert set(figures(lstm(task.space), task, task.test, 30, 0)) == {"nll_test"}
