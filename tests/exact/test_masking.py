"""What a state sees (S8 of the known answers): the text on the tape, and nothing rubbed out.

SequenceMatch scores logs with deletions in one pass. Its paper puts a copy of the token that is on
top again in the place of a `<backspace>`, hides the original, and counts positions by depth. Our
tape has a node for every token typed and none for deletions; both layouts show every state the same
tokens at the same positions. That networks agree to 1e-5 with one forward a state, with generation
that rolls back, and bit for bit after a token is rubbed out and typed again, is what
`rubout.checks.check_policy` holds every policy to (tests/policies/test_agreement.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rubout.checks import random_logs
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.tape import Tape, replay, visibility, written
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(5, 6, backspace=True, max_actions=20)
START, BACKSPACE = SPACE.start_id, SPACE.backspace_id
EXAMPLE = [1, 2, BACKSPACE, 3, BACKSPACE, BACKSPACE, 4]

Seen = set[tuple[int, int]]  # a token and its position


def log_of(actions: Sequence[int]) -> Trajectories:
    count = torch.tensor([len(actions)])
    return Trajectories(
        torch.tensor([list(actions)]), torch.zeros(1, len(actions)), count, count < 0, count * 0
    )


def copy_slots(actions: Sequence[int]) -> tuple[list[int], list[int], list[list[int]]]:
    """Inputs, positions and visible slots, one slot for the start and one an action."""
    inputs, positions, visible, rows = [START], [0], [0], [[0]]
    for slot, action in enumerate(actions, start=1):
        if action == BACKSPACE:
            top = visible[-2]
            inputs.append(inputs[top])
            positions.append(positions[top])
            visible = [*visible[:-2], slot]
        else:
            inputs.append(action)
            positions.append(len(visible))
            visible = [*visible, slot]
        rows.append(visible)
    return inputs, positions, rows


def seen_by(tape: Tape, row: int) -> list[Seen]:
    """What the state before each action, and the last, sees of a tape."""
    tokens, depths = tape.tokens_BN[row].tolist(), tape.depths_BN[row].tolist()
    shown_NN = visibility(tape)[row]
    return [
        {(tokens[node], depths[node]) for node in shown_NN[state].nonzero().flatten().tolist()}
        for state in tape.states_BS[row].tolist()
    ]


def test_the_worked_example():
    """START 1 2 <backspace> 3 <backspace> <backspace> 4."""
    inputs, positions, rows = copy_slots(EXAMPLE)
    assert inputs == [START, 1, 2, 1, 3, 1, START, 4]
    assert positions == [0, 1, 2, 1, 2, 1, 0, 1]
    masks = ["1", "11", "111", "1001", "10011", "100001", "0000001", "00000011"]
    assert rows == [[slot for slot, bit in enumerate(mask) if bit == "1"] for mask in masks]

    tape = replay(SPACE, log_of(EXAMPLE))
    assert tape.tokens_BN.gather(1, tape.states_BS).tolist() == [inputs]
    assert tape.depths_BN.gather(1, tape.states_BS).tolist() == [positions]
    assert seen_by(tape, 0) == [{(inputs[s], positions[s]) for s in row} for row in rows]
    texts = [[], [1], [1, 2], [1], [1, 3], [1], [], [4]]
    assert seen_by(tape, 0) == [set(zip([START, *t], range(7), strict=False)) for t in texts]


def test_both_layouts_show_the_same():
    """Three hundred logs typed at random, of every length."""
    logs = random_logs(SPACE, 300, 0)
    tape = replay(SPACE, logs)
    assert (logs.actions_BT == BACKSPACE).sum() > 300
    for row, count in enumerate(logs.num_actions_B.tolist()):
        actions = logs.actions_BT[row, :count].tolist()
        if actions[-1] == SPACE.eos_id:  # no state of this tape comes after it
            actions = actions[:-1]
        inputs, positions, rows = copy_slots(actions)
        shown = [{(inputs[slot], positions[slot]) for slot in visible} for visible in rows]
        assert seen_by(tape, row)[: len(shown)] == shown


def test_text_without_a_deletion_has_the_ordinary_causal_mask():
    tape = replay(SPACE, written(SPACE, Sequences.of([[1, 2, 3, 4], [0, 0, 4, 2]])))
    assert tape.depths_BN.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert visibility(tape).equal(torch.ones(5, 5).tril().bool().expand(2, 5, 5))


def test_a_transformer_on_the_worked_example():
    """One pass over the log, and one forward for the text of every state: 1e-5 in float32."""
    torch.manual_seed(0)
    policy = TransformerPolicy(SPACE, TransformerConfig(layers=3, width=16, heads=2)).eval()
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    together = policy.score(log_of(EXAMPLE), {"log_softmax", "values"})
    for step, text in enumerate([[], [1], [1, 2], [1], [1, 3], [1], []]):
        alone = policy.score(log_of([*text, EXAMPLE[step]]), {"log_softmax", "values"})
        for one, other in (
            (together.log_softmax_BTA[0, step], alone.log_softmax_BTA[0, len(text)]),
            (together.values_BS[0, step], alone.values_BS[0, len(text)]),
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert together.log_softmax_BTA[0, 0].equal(together.log_softmax_BTA[0, 6])
