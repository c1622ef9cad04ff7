"""Slips: against a literal loop, and what must hold of any log that shows some."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.checks import random_logs
from rubout.keys import blank, is_over, press
from rubout.noise import Blame, Noise, inject
from rubout.tape import replay, survivors, written
from rubout.types import ActionSpace, Sequences, Trajectories


@dataclass(frozen=True)
class Case:
    """An expert's logs, and the draws that decide where they slip."""

    space: ActionSpace
    data: Trajectories
    noise: Noise
    chances_BT: Tensor
    slips_BT: Tensor

    def injected(self) -> Trajectories:
        return inject(self.space, self.data, self.noise, self.chances_BT, self.slips_BT)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    num_tokens, length = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    space = ActionSpace(
        num_tokens,
        length,
        eos=draw(st.booleans()),
        backspace=True,
        forbid_redo=num_tokens > 1 and draw(st.booleans()),
        max_backspaces=draw(st.none() | st.integers(0, 4)),
        max_actions=draw(st.none() | st.integers(1, 20)),
    )
    typist = space  # an expert may rub out of its own accord
    if draw(st.booleans()):
        typist = replace(space, backspace=False, forbid_redo=False, max_actions=None)
    seed = draw(st.integers(0, 999))
    data = random_logs(typist, draw(st.integers(1, 4)), seed, with_prompts=draw(st.booleans()))
    data = replace(data, log_probs_BT=torch.zeros(data.actions_BT.shape))
    generator = torch.Generator().manual_seed(seed)
    chances, which = torch.rand(2, *data.actions_BT.shape, generator=generator)
    rate = draw(st.sampled_from([0.3, 1.0]))
    noise = Noise(rate, blame=draw(st.sampled_from(["environment", "expert"])))
    return Case(space, data, noise, chances, (which * num_tokens).long())


def rows(case: Case) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt, actions and labels of each log."""
    prompts = case.data.prompts.lists() if case.data.prompts else [[]] * len(case.data)
    counts = case.data.num_actions_B.tolist()
    return [
        (prompt, actions[:count], labels[:count])
        for prompt, actions, labels, count in zip(
            prompts,
            case.data.actions_BT.tolist(),
            case.data.labels_BT.tolist(),
            counts,
            strict=True,
        )
    ]


def literal(case: Case, row: int) -> tuple[list[int], list[int], int]:
    """What one log becomes, its labels, and the number of its slips: action by action."""
    space, key = case.space, case.space.backspace_id
    prompt, actions, meant = rows(case)[row]
    room = (space.action_limit - len(actions)) // 2
    if space.max_backspaces is not None:
        room = min(room, space.max_backspaces - actions.count(key))
    stack, rubbed, typed, labels, slips = list(prompt), -1, [], [], 0
    for step, action in enumerate(actions):
        slip = int(case.slips_BT[row, step])
        places = space.max_length - len(stack) - (0 if space.eos else 1)
        allowed = action != key and places > 0 and slips < room
        if space.forbid_redo and slip in (rubbed, action):
            allowed = False
        if allowed and float(case.chances_BT[row, step]) < case.noise.rate:
            typed += [slip, key]
            labels += [meant[step] if case.noise.blame == "environment" else slip, key]
            slips += 1
        typed.append(action)
        labels.append(meant[step])
        rubbed = -1
        if action == key:
            rubbed = stack.pop()
        elif action < space.num_tokens:
            stack.append(action)
    return typed, labels, slips


@settings(max_examples=250, deadline=None)
@given(case=cases())
def test_it_is_the_literal_loop(case: Case) -> None:
    result = case.injected()
    slips = 0
    for row in range(len(case.data)):
        typed, labels, here = literal(case, row)
        padding = [0] * (result.actions_BT.shape[1] - len(typed))
        assert result.actions_BT[row].tolist() == typed + padding
        assert result.labels_BT[row].tolist() == labels + padding
        assert int(result.num_actions_B[row]) == len(typed)
        slips += here
    assert int((result.num_actions_B - case.data.num_actions_B).sum()) == 2 * slips
    if not slips:
        assert result is case.data
    assert (result.intended_BT is not None) == (slips > 0 and case.noise.blame == "environment")
    assert result.log_probs_BT.shape == result.actions_BT.shape
    assert not bool(result.log_probs_BT.any())
    for name in ("terminated_B", "policy_version_B", "prompts"):
        assert getattr(result, name) is getattr(case.data, name)


@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_what_holds_of_any_log_with_slips(case: Case) -> None:
    space, data, result = case.space, case.data, case.injected()
    assert survivors(space, result).lists() == survivors(space, data).lists()
    legal = space.mask(replay(space, result).legality_BS)[:, :-1]
    chosen = legal.gather(2, result.actions_BT.unsqueeze(2)).squeeze(2)
    assert bool(chosen[result.mask_BT].all()), "what is typed is legal"
    meant = legal.gather(2, result.labels_BT.unsqueeze(2)).squeeze(2)
    assert bool(meant[result.mask_BT].all()), "what was meant is legal where it was meant"
    most = data.num_actions_B.clamp(min=space.action_limit)
    assert bool((result.num_actions_B <= most).all())
    assert result.actions_BT.shape[1] <= 3 * data.actions_BT.shape[1]
    deletions = (result.mask_BT & (result.actions_BT == space.backspace_id)).sum(1)
    if space.max_backspaces is not None:
        before = (data.mask_BT & (data.actions_BT == space.backspace_id)).sum(1)
        assert bool((deletions <= before.clamp(min=space.max_backspaces)).all())


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_a_slip_does_not_end_an_episode(case: Case) -> None:
    space, result = case.space, case.injected()
    state = blank(space, len(result), result.prompts, "cpu")
    fits = case.data.num_actions_B <= space.action_limit
    for step, actions in enumerate(result.actions_BT.T):
        state, keys = press(space, state, actions, step < result.num_actions_B)
        terminated, truncated = is_over(space, state, keys)
        earlier = step + 1 < result.num_actions_B
        assert not bool((earlier & (terminated | (truncated & fits))).any())


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_labels_differ_from_actions_at_slips_alone(case: Case) -> None:
    """Blamed on the environment: what was meant, taken in order without deletions, is the log."""
    environment = replace(case, noise=replace(case.noise, blame="environment")).injected()
    expert = replace(case, noise=replace(case.noise, blame="expert")).injected()
    assert expert.intended_BT is None
    assert expert.actions_BT.equal(environment.actions_BT), "the blame moves no action"
    wrong = environment.labels_BT != environment.actions_BT
    assert not bool(wrong[:, -1:].any()), "the last action of all is never a slip"
    rubbed_next = environment.actions_BT[:, 1:] == case.space.backspace_id
    assert bool(rubbed_next[wrong[:, :-1]].all()), "a slip is rubbed out at once"
    if wrong.shape[1] > 2:  # the label of a slip is what is typed after its deletion
        label, later = environment.labels_BT[:, :-2], environment.actions_BT[:, 2:]
        assert label[wrong[:, :-2]].equal(later[wrong[:, :-2]])


@settings(max_examples=60, deadline=None)
@given(case=cases(), blame=st.sampled_from(["environment", "expert"]))
def test_what_was_meant_is_still_meant_after_more_slips(case: Case, blame: Blame) -> None:
    once = case.injected()
    generator = torch.Generator().manual_seed(1)
    chances, which = torch.rand(2, *once.actions_BT.shape, generator=generator)
    slips = (which * case.space.num_tokens).long()
    again = Case(case.space, once, Noise(0.5, blame=blame), chances, slips)
    result = again.injected()
    for row in range(len(once)):
        typed, labels, _ = literal(again, row)
        assert result.actions_BT[row, : len(typed)].tolist() == typed
        assert result.labels_BT[row, : len(typed)].tolist() == labels


@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_a_rate_of_nothing_changes_nothing(case: Case) -> None:
    assert replace(case, noise=Noise(0.0)).injected() is case.data
    never = replace(case, chances_BT=torch.full_like(case.chances_BT, case.noise.rate))
    assert never.injected() is case.data, "a chance slips below the rate, not at it"


def one(space: ActionSpace, text: list[int], rate: float = 1.0, slip: int = 2) -> list[int]:
    """What an expert's text becomes when every chance is 0 and every slip the same token."""
    data = written(space, Sequences.of([text]))
    still = torch.zeros(data.actions_BT.shape)
    result = inject(space, data, Noise(rate), still, torch.full_like(data.actions_BT, slip))
    return list(result.actions_BT[0].tolist())


def test_every_action_may_slip_and_eos_too() -> None:
    space = ActionSpace(3, 4, backspace=True, max_actions=20)
    eos, key = space.eos_id, space.backspace_id
    assert one(space, [0, 1]) == [2, key, 0, 2, key, 1, 2, key, eos]
    full = one(space, [0, 1, 0, 1])
    assert full[-2:] == [1, eos], "on a full tape no token can be typed, so nothing slips"
    assert full.count(key) == 4


def test_without_eos_the_last_place_does_not_slip() -> None:
    space = ActionSpace(3, 3, eos=False, backspace=True, max_actions=20)
    key = space.backspace_id
    assert one(space, [0, 1, 0]) == [2, key, 0, 2, key, 1, 0]


@pytest.mark.parametrize(
    ("limits", "slips"),
    [
        ({}, 1),  # 6 actions at most: 3 of them are the text, and a slip costs two
        ({"max_actions": 7}, 2),
        ({"max_actions": 20, "max_backspaces": 1}, 1),
        ({"max_actions": 20, "max_backspaces": 0}, 0),
        ({"max_actions": 3}, 0),
        ({"max_actions": 2}, 0),
    ],
)
def test_limits_leave_room_for_so_many(limits: dict[str, int], slips: int) -> None:
    space = ActionSpace(3, 3, eos=False, backspace=True, **limits)
    assert one(space, [0, 1, 0]).count(space.backspace_id) == slips


def test_forbid_redo_lets_no_slip_be_what_was_meant() -> None:
    space = ActionSpace(3, 3, backspace=True, max_actions=20)
    key, eos = space.backspace_id, space.eos_id
    assert one(space, [2], slip=2) == [2, key, 2, 2, key, eos]
    assert one(replace(space, forbid_redo=True), [2], slip=2) == [2, 2, key, eos]


def test_it_needs_a_backspace() -> None:
    with pytest.raises(AssertionError, match="need a backspace"):
        one(ActionSpace(3, 3), [0, 1])
