from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.types import ActionSpace, Legality, Sequences, Trajectories

EARNED = ("rewards_BT", "action_values_BT", "value_errors_BT")


def trajectories(
    rows: list[list[int]], *, prompts: bool = False, earned: bool = False, slips: bool = False
) -> Trajectories:
    """Every field says which row and action it belongs to."""
    actions = Sequences.of(rows)
    log_probs = -(actions.tokens_BL.float() + 1) * actions.mask_BL
    intended = (actions.tokens_BL + 100) * actions.mask_BL
    return Trajectories(
        actions_BT=actions.tokens_BL,
        log_probs_BT=log_probs,
        num_actions_B=actions.lengths_B,
        terminated_B=actions.lengths_B % 2 == 0,
        policy_version_B=actions.lengths_B + 10,
        prompts=Sequences.of([row[:1] for row in rows]) if prompts else None,
        rewards_BT=log_probs * 2 if earned else None,
        action_values_BT=log_probs * 3 if earned else None,
        value_errors_BT=log_probs * -4 if earned else None,
        reports={"one": log_probs.sum(1), "two": log_probs.sum(1) + 1} if earned else None,
        intended_BT=intended if slips else None,
    )


def rows_of(batch: Trajectories) -> list[tuple[object, ...]]:
    """One tuple for each row, padding left out after a check that it is 0."""
    values: Tensor | None
    earned = [value for name in EARNED if (value := getattr(batch, name)) is not None]
    for values in (batch.actions_BT, batch.log_probs_BT, batch.intended_BT, *earned):
        assert values is None or not bool(values.masked_fill(batch.mask_BT, 0).any())
    prompts = [None] * len(batch) if batch.prompts is None else batch.prompts.lists()
    return [
        (
            batch.actions_BT[row, :count].tolist(),
            batch.log_probs_BT[row, :count].tolist(),
            bool(batch.terminated_B[row]),
            int(batch.policy_version_B[row]),
            prompts[row],
            [value[row, :count].tolist() for value in earned],
            {name: float(value[row]) for name, value in (batch.reports or {}).items()},
            batch.labels_BT[row, :count].tolist(),
        )
        for row, count in enumerate(batch.num_actions_B.tolist())
    ]


row_lists = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    one=row_lists,
    other=row_lists,
    prompts=st.booleans(),
    earned=st.booleans(),
    slips=st.tuples(st.booleans(), st.booleans()),
)
def test_slices_undo_cat(
    one: list[list[int]],
    other: list[list[int]],
    prompts: bool,
    earned: bool,
    slips: tuple[bool, bool],
) -> None:
    first = trajectories(one, prompts=prompts, earned=earned, slips=slips[0])
    second = trajectories(other, prompts=prompts, earned=earned, slips=slips[1])
    both = Trajectories.cat([first, second])
    assert len(both) == len(one) + len(other)
    assert (both.prompts is not None) == prompts
    for name in (*EARNED, "reports"):
        assert (getattr(both, name) is not None) == earned
    assert (both.intended_BT is None) == (not any(slips)), "slips in one part are slips in all"
    assert rows_of(both) == rows_of(first) + rows_of(second)
    assert rows_of(both[: len(one)]) == rows_of(first)
    assert rows_of(both[torch.arange(len(both)) >= len(one)]) == rows_of(second)
    backwards = torch.arange(len(both)).flip(0)
    assert rows_of(both[backwards]) == rows_of(both)[::-1]
    assert rows_of(both.to("cpu")) == rows_of(both)


def test_cat_refuses_a_mixture() -> None:
    full = trajectories([[1]], prompts=True, earned=True)
    for name in ("prompts", "reports", *EARNED):
        for parts in ([full, replace(full, **{name: None})], [replace(full, **{name: None}), full]):
            with pytest.raises(ValueError, match=f"either all trajectories have {name} or none"):
                Trajectories.cat(parts)


def test_all_of_a_batch_is_moved() -> None:
    moved = trajectories([[1, 2], [3]], prompts=True, earned=True, slips=True).to("meta")
    held = [getattr(moved, name) for name in Trajectories.__dataclass_fields__]
    found = [value for value in held if isinstance(value, Tensor)]
    assert moved.prompts is not None
    assert moved.reports is not None
    found += [moved.prompts.tokens_BL, moved.prompts.lengths_B, *moved.reports.values()]
    assert len(found) == 9 + 2 + 2
    assert {value.device.type for value in found} == {"meta"}


def test_unpaid_is_without_what_was_earned() -> None:
    paid = trajectories([[1, 2], [3]], prompts=True, earned=True, slips=True)
    plain = trajectories([[1, 2], [3]], prompts=True, slips=True)
    unpaid = paid.unpaid()
    for name in (*EARNED, "reports"):
        assert getattr(unpaid, name) is None
        assert getattr(paid, name) is not None
    assert rows_of(unpaid) == rows_of(plain)


@settings(max_examples=40, deadline=None)
@given(rows=row_lists, earned=st.booleans(), slips=st.booleans())
def test_trimmed_drops_columns_that_are_padding_in_every_row(
    rows: list[list[int]], earned: bool, slips: bool
) -> None:
    batch = trajectories(rows, prompts=True, earned=earned, slips=slips)
    wider = trajectories([[1] * 7], prompts=True, earned=earned, slips=slips)
    wide = Trajectories.cat([batch, wider])[:-1]
    assert wide.actions_BT.shape[1] == 7
    for some in (wide, wide[:1]):
        trimmed = some.trimmed()
        widest = max(len(row) for row in rows[: len(some)])
        widths = [
            values.shape[1]
            for name in ("actions_BT", "log_probs_BT", *EARNED)
            if (values := getattr(trimmed, name)) is not None
        ]
        assert set(widths) == {widest}
        assert trimmed.labels_BT.shape == trimmed.actions_BT.shape
        assert (trimmed.intended_BT is None) == (not slips)
        assert rows_of(trimmed) == rows_of(some)
        assert trimmed.prompts is some.prompts


def test_labels_are_actions_unless_something_else_was_meant() -> None:
    plain, slipped = trajectories([[1, 2]]), trajectories([[1, 2]], slips=True)
    assert plain.labels_BT is plain.actions_BT
    assert slipped.labels_BT.tolist() == [[101, 102]]
    assert slipped.actions_BT.tolist() == [[1, 2]]


@settings(max_examples=30, deadline=None)
@given(rows=row_lists)
def test_sequences_from_lists_and_back(rows: list[list[int]]) -> None:
    sequences = Sequences.of(rows)
    assert sequences.lists() == rows
    assert sequences.tokens_BL.dtype == sequences.lengths_B.dtype == torch.int64
    assert not bool(sequences.tokens_BL.masked_fill(sequences.mask_BL, 0).any())
    assert Sequences.cat([sequences, Sequences.of([[1, 2, 3, 4, 5]])]).lists() == [
        *rows,
        [1, 2, 3, 4, 5],
    ]


def test_no_sequences() -> None:
    assert Sequences.of([]).tokens_BL.shape == (0, 0)


@pytest.mark.parametrize(
    ("eos", "backspace", "ids", "limit"),
    [
        (True, True, (6, 4, 5), 14),
        (True, False, (5, 4, -1), 7),
        (False, True, (5, -1, 4), 12),
        (False, False, (4, -1, -1), 6),
    ],
)
def test_action_ids(eos: bool, backspace: bool, ids: tuple[int, int, int], limit: int) -> None:
    space = ActionSpace(4, 6, eos=eos, backspace=backspace)
    assert (space.size, space.eos_id, space.backspace_id) == ids
    assert space.start_id == 4
    assert space.action_limit == limit
    assert ActionSpace(4, 6, 3, eos, backspace).action_limit == 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_tokens": 0}, "at least one token"),
        ({"max_length": 0}, "a length of at least 1"),
        ({"max_actions": 0}, "max_actions must be at least 1"),
        ({"num_tokens": 1, "forbid_redo": True}, "forbid_redo needs at least two tokens"),
    ],
)
def test_impossible_spaces(kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActionSpace(**{"num_tokens": 2, "max_length": 2} | kwargs)


@st.composite
def states(draw: st.DrawFn) -> tuple[ActionSpace, list[list[int]]]:
    """A space, and states (length, prompt_length, num_backspaces, rubbed) in which it can be."""
    length = draw(st.integers(1, 4))
    space = ActionSpace(
        draw(st.integers(2, 4)),
        length,
        eos=draw(st.booleans()),
        backspace=draw(st.booleans()),
        forbid_redo=draw(st.booleans()),
        max_backspaces=draw(st.none() | st.integers(0, 2)),
    )
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        prompt = draw(st.integers(0, length - 1))
        # Without <eos> a full tape is the end: nothing is asked there any more.
        on_tape = draw(st.integers(prompt, length if space.eos else length - 1))
        can_redo = space.backspace and on_tape < length
        rubbed = draw(st.integers(-1, space.num_tokens - 1)) if can_redo else -1
        rows.append([on_tape, prompt, draw(st.integers(0, 3)), rubbed])
    return space, rows


@settings(max_examples=100, deadline=None)
@given(case=states())
def test_legality(case: tuple[ActionSpace, list[list[int]]]) -> None:
    """The compact form, the mask and the masked logits, against the rules one by one."""
    space, rows = case
    legality = space.legality(*torch.tensor(rows).unbind(1))
    expected = []
    for length, prompt, backspaces, rubbed in rows:
        row = [
            length < space.max_length and not (space.forbid_redo and token == rubbed)
            for token in range(space.num_tokens)
        ]
        row += [True] * space.eos
        left = space.max_backspaces is None or backspaces < space.max_backspaces
        row += [length > prompt and left] * space.backspace
        expected.append(row)
    assert space.mask(legality).tolist() == expected
    assert space.mask(legality[:1]).tolist() == expected[:1]
    logits = torch.rand(len(rows), space.size)
    masked = space.mask_illegal_(logits.clone(), legality)
    assert masked.equal(logits.masked_fill(~torch.tensor(expected), -torch.inf))


def test_legality_of_any_shape() -> None:
    space = ActionSpace(3, 4, backspace=True, forbid_redo=True)
    shape = (2, 5)
    legality = Legality(
        torch.ones(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.bool),
        torch.ones(shape, dtype=torch.int64),
    )
    mask = space.mask(legality)
    assert mask.shape == (2, 5, space.size)
    assert mask[1, 2].tolist() == [True, False, True, True, False]
