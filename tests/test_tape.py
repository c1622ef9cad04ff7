"""The tape against ten lines of Python, and a worked example."""

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rubout.keys import blank, is_over, press
from rubout.tape import Tape, replay, survivors, visibility, with_ends, written
from rubout.tape.at_once import replay_legal
from rubout.tape.replay import replay_keys
from rubout.types import ActionSpace, Sequences, Trajectories

Log = tuple[list[int], list[int]]  # prompt, actions


def literal(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[list[int]]:
    """What stands on the tape before each action and at the end."""
    stack, rubbed, backspaces, states = list(prompt), -1, 0, [list(prompt)]
    for action in actions:
        forbidden, rubbed = (rubbed if space.forbid_redo else -1), -1
        left = space.max_backspaces is None or backspaces < space.max_backspaces
        if 0 <= action < space.num_tokens and action != forbidden:
            stack += [action][: space.max_length - len(stack)]
        elif action == space.backspace_id >= 0 and len(stack) > len(prompt) and left:
            rubbed, backspaces = stack.pop(), backspaces + 1
        states.append(list(stack))
    return states


def finished(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[int]:
    """The actions up to the end of the episode."""
    for count, stack in enumerate(literal(space, prompt, actions)[1:], start=1):
        ended = actions[count - 1] == space.num_tokens if space.eos else False
        full = not space.eos and len(stack) == space.max_length
        if ended or full or count == space.action_limit:
            return actions[:count]
    return actions


def just_text(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[int]:
    """The tokens among these actions, as many as fit, and `<eos>` if it is among them."""
    text = [action for action in actions if 0 <= action < space.num_tokens]
    ended = [space.eos_id] * (space.eos and space.eos_id in actions)
    return finished(space, prompt, text[: space.max_length - len(prompt)] + ended)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[ActionSpace, list[Log]]:
    num_tokens, length = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    space = ActionSpace(
        num_tokens,
        length,
        eos=draw(st.booleans()),
        backspace=draw(st.booleans()),
        forbid_redo=num_tokens > 1 and draw(st.booleans()),
        max_backspaces=draw(st.none() | st.integers(0, 2)),
    )
    token = st.integers(0, num_tokens - 1)
    action = st.integers(-1, space.size) | token | st.just(space.size - 1)
    action = draw(st.sampled_from([action, token]))  # sometimes nothing but text
    logs = st.tuples(st.lists(token, max_size=length - 1), st.lists(action, max_size=12))
    rows = draw(st.lists(logs, min_size=1, max_size=3))
    return space, [(prompt, finished(space, prompt, actions)) for prompt, actions in rows]


def batch(logs: list[Log]) -> Trajectories:
    prompts, actions = zip(*logs, strict=True)
    typed = Sequences.of(actions)
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.ones_like(typed.lengths_B, dtype=torch.bool),
        policy_version_B=torch.zeros_like(typed.lengths_B),
        prompts=Sequences.of(prompts),
    )


def path(tape: Tape, row: int, node: int) -> list[int]:
    """The nodes from the start to this one, the start left out."""
    nodes = []
    while node:
        nodes.append(node)
        node = int(tape.parents_BN[row, node])
    return nodes[::-1]


@settings(max_examples=150, deadline=None)
@given(world=worlds())
def test_every_state_sees_what_stands_on_the_tape(world: tuple[ActionSpace, list[Log]]) -> None:
    space, logs = world
    tape = replay(space, batch(logs))
    assert tape.states_BS.shape == (len(logs), 1 + max(len(actions) for _, actions in logs))
    assert tape.tokens_BN[:, 0].tolist() == [space.start_id] * len(logs)
    for row, (prompt, actions) in enumerate(logs):
        stacks = literal(space, prompt, actions)
        for step, node in enumerate(tape.states_BS[row].tolist()):
            stack = stacks[min(step, len(actions))]
            nodes = path(tape, row, node)
            assert tape.tokens_BN[row, nodes].tolist() == stack
            assert int(tape.depths_BN[row, node]) == len(stack)
        final = tape.path_BD[row, 1 : len(stacks[-1]) + 1].tolist()
        assert final == path(tape, row, int(tape.states_BS[row, -1]))


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_survivors(world: tuple[ActionSpace, list[Log]]) -> None:
    space, logs = world
    left = survivors(space, batch(logs))
    assert left.lists() == [literal(space, prompt, actions)[-1] for prompt, actions in logs]
    assert left.tokens_BL.shape[1] == space.max_length
    assert int(left.tokens_BL.masked_fill(left.mask_BL, 0).abs().sum()) == 0


@settings(max_examples=100, deadline=None)
@given(world=worlds())
def test_press_is_what_replay_replays(world: tuple[ActionSpace, list[Log]]) -> None:
    """Key by key: the same legality, and an episode ends where the log does."""
    space, logs = world
    trajectories = batch(logs)
    legality = replay(space, trajectories).legality_BS
    state = blank(space, len(logs), trajectories.prompts, "cpu")
    for step in range(trajectories.actions_BT.shape[1] + 1):
        now = state.legality(space)
        assert now.token.equal(legality.token[:, step])
        assert now.backspace.equal(legality.backspace[:, step])
        assert now.forbidden.equal(legality.forbidden[:, step])
        if step == trajectories.actions_BT.shape[1]:
            break
        active_B = trajectories.mask_BT[:, step]
        state, keys = press(space, state, trajectories.actions_BT[:, step], active_B)
        terminated_B, truncated_B = is_over(space, state, keys)
        earlier_B = step + 1 < trajectories.num_actions_B
        assert not bool((earlier_B & (terminated_B | truncated_B)).any())
        assert not bool((~active_B & (keys.typed_B | keys.rubbed_B | keys.ended_B)).any())
    assert state.num_actions_B.equal(trajectories.num_actions_B)


def legal_keys(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[int]:
    """Those of the actions that do something, and `<eos>` if it is among them."""
    kept: list[int] = []
    for action in actions:
        if space.eos and action == space.num_tokens:
            return finished(space, prompt, [*kept, action])
        before, after = literal(space, prompt, [*kept, action])[-2:]
        kept += [action] * (before != after)
    return finished(space, prompt, kept)


RUBBED_LAST = ActionSpace(2, 3, eos=False, backspace=True, forbid_redo=True)


@settings(max_examples=200, deadline=None)
@given(world=worlds(), plain=st.booleans())
@example(world=(RUBBED_LAST, [([], [0, 2]), ([], [0, 0, 0])]), plain=False)
def test_the_closed_form_is_what_the_keys_do(
    world: tuple[ActionSpace, list[Log]], plain: bool
) -> None:
    space, logs = world
    choose = just_text if plain else legal_keys
    trajectories = batch([(prompt, choose(space, prompt, log)) for prompt, log in logs])
    at_once, by_key = (
        replay_legal(space, trajectories),
        replay_keys(space, trajectories),
    )
    assert at_once is not None
    has_deletion = bool((trajectories.actions_BT[trajectories.mask_BT] == space.backspace_id).any())
    assert at_once.linear is not (space.backspace and has_deletion)
    assert not by_key.linear
    for name in ("tokens_BN", "parents_BN", "depths_BN", "states_BS"):
        assert getattr(at_once, name).equal(getattr(by_key, name)), name
    for name in ("token", "backspace", "forbidden"):
        one, other = getattr(at_once.legality_BS, name), getattr(by_key.legality_BS, name)
        assert one.equal(other), name
    final = at_once.depths_BN.gather(1, at_once.states_BS[:, -1:])
    meant = torch.arange(space.max_length + 1) <= final
    assert at_once.path_BD.where(meant, 0).equal(by_key.path_BD.where(meant, 0))
    if at_once.linear:
        assert visibility(at_once)[:, :1].equal(visibility(by_key)[:, :1])


def test_illegal_keys_are_followed_one_by_one() -> None:
    space = ActionSpace(3, 2, backspace=True, forbid_redo=True, max_backspaces=1)
    for actions in ([4], [0, 1, 2], [0, 4, 0], [0, 4, 1, 4], [-1], [5]):
        logs = batch([([], actions), ([], [0, 1])])
        assert replay_legal(space, logs) is None, actions
        assert survivors(space, logs).lists()[0] == literal(space, [], actions)[-1]
    assert replay_legal(space, batch([([], [0, 4, 1])])) is not None


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_visibility(world: tuple[ActionSpace, list[Log]]) -> None:
    space, logs = world
    tape = replay(space, batch(logs))
    seen = visibility(tape)
    for row in range(len(logs)):
        for node in set(tape.states_BS[row].tolist()):
            expected = {0, node, *path(tape, row, node)}
            assert set(seen[row, node].nonzero().squeeze(1).tolist()) == expected
    assert bool(seen.diagonal(dim1=1, dim2=2).all())


@settings(max_examples=150, deadline=None)
@given(world=worlds(), plain=st.booleans())
def test_an_end_is_one_more_node(world: tuple[ActionSpace, list[Log]], plain: bool) -> None:
    space, logs = world
    if plain:
        logs = [(prompt, just_text(space, prompt, log)) for prompt, log in logs]
    trajectories = batch(logs)
    before = replay(space, trajectories)
    after = with_ends(space, trajectories, before)
    assert after.linear == before.linear
    assert after.path_BD is before.path_BD
    ended = [space.eos and log[-1:] == [space.eos_id] for _, log in logs]
    if not any(ended):
        assert after is before
        return
    names = ("tokens_BN", "parents_BN", "depths_BN")
    only_eos = [action == space.eos_id for action in range(space.size)]
    legal, legal_before = space.mask(after.legality_BS), space.mask(before.legality_BS)
    for row, (_, actions) in enumerate(logs):
        nodes = 1 + int(before.depths_BN[row].count_nonzero())
        for name in names:
            old, new = getattr(before, name)[row], getattr(after, name)[row]
            assert new[:nodes].equal(old[:nodes]), name
            assert not bool(new[nodes + ended[row] :].any()), name
        steps = len(actions) if ended[row] else None
        assert after.states_BS[row, :steps].equal(before.states_BS[row, :steps])
        assert legal[row, :steps].equal(legal_before[row, :steps])
        if ended[row]:
            above = int(before.states_BS[row, -1])
            assert [int(getattr(after, name)[row, nodes]) for name in names] == [
                space.start_id,
                above,
                int(before.depths_BN[row, above]) + 1,
            ]
            assert set(after.states_BS[row, steps:].tolist()) == {nodes}
            assert all(state == only_eos for state in legal[row, steps:].tolist())
            assert after.legality_BS.forbidden[row, steps:].eq(-1).all()
    if after.linear:
        rows, columns = (after.depths_BN > 0).nonzero(as_tuple=True)
        assert after.parents_BN[rows, columns].equal(columns - 1)


def test_a_worked_example() -> None:
    """BOS 1 2 <bk> 3 <bk> <bk> 4."""
    space = ActionSpace(5, 6, backspace=True)
    bk = space.backspace_id
    tape = replay(space, batch([([], [1, 2, bk, 3, bk, bk, 4])]))
    assert tape.tokens_BN.tolist() == [[space.start_id, 1, 2, 3, 4]]
    assert tape.parents_BN.tolist() == [[0, 0, 1, 1, 0]]
    assert tape.depths_BN.tolist() == [[0, 1, 2, 2, 1]]
    inputs = tape.tokens_BN.gather(1, tape.states_BS)
    assert inputs.tolist() == [[space.start_id, 1, 2, 1, 3, 1, space.start_id, 4]]
    assert tape.depths_BN.gather(1, tape.states_BS).tolist() == [[0, 1, 2, 1, 2, 1, 0, 1]]
    assert visibility(tape).int().tolist() == [
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 1]]
    ]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.lists(st.integers(0, 3), max_size=2), st.lists(st.integers(0, 3), max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_written_text_survives(rows: list[Log]) -> None:
    space = ActionSpace(4, 5, backspace=True)
    prompts, texts = zip(*rows, strict=True)
    trajectories = written(space, Sequences.of(texts), Sequences.of(prompts))
    assert trajectories.num_actions_B.tolist() == [len(text) + 1 for text in texts]
    logs = zip(trajectories.actions_BT.tolist(), texts, strict=True)
    assert all(log[: len(text) + 1] == [*text, space.eos_id] for log, text in logs)
    assert int(trajectories.actions_BT.masked_fill(trajectories.mask_BT, 0).sum()) == 0
    assert trajectories.terminated_B.all()
    assert (trajectories.policy_version_B == -1).all()
    left = survivors(space, trajectories).lists()
    assert left == [prompt + text for prompt, text in rows]


def test_written_without_eos() -> None:
    space = ActionSpace(4, 2, eos=False)
    trajectories = written(space, Sequences.of([[1, 2], [3, 0]]))
    assert trajectories.actions_BT.tolist() == [[1, 2], [3, 0]]
    assert survivors(space, trajectories).lists() == [[1, 2], [3, 0]]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[0]], "1 prompts for 2 sequences"),
        ([[0], [1, 1, 1]], "a prompt of 3 tokens fills the tape of 3"),
        ([[0], [4]], "a prompt holds ids that are not tokens"),
        ([[0], [-1]], "a prompt holds ids that are not tokens"),
    ],
)
def test_bad_prompts(prompts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blank(ActionSpace(4, 3), 2, Sequences.of(prompts), "cpu")


def test_empty_prompts() -> None:
    state = blank(ActionSpace(4, 3), 2, Sequences.of([[], []]), "cpu")
    assert state.length_B.tolist() == [0, 0]
