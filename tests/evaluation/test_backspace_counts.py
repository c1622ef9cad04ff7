"""Figures on the backspace in samples, counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rubout.checks import random_logs
from rubout.evaluation.backspaces import count, of_samples
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(5, 6, backspace=True)
END, BACK = SPACE.eos_id, SPACE.backspace_id


def logs(rows: list[list[int]], prompts: list[list[int]] | None = None) -> Trajectories:
    """Typed as given; those that do not end by themselves were cut off."""
    typed = Sequences.of(rows)
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.tensor([END in row for row in rows]),
        policy_version_B=torch.zeros(len(rows), dtype=torch.int64),
        prompts=None if prompts is None else Sequences.of(prompts),
    )


def test_runs_and_what_follows_them() -> None:
    found = count(
        SPACE,
        logs(
            [
                # 1 is rubbed out and typed again; 2 and 3 are, and 3, not 2, stood last.
                [0, 1, BACK, 1, 2, 3, BACK, BACK, 3, END],
                # The last one rubbed out was 2: typed again.
                [0, 2, 3, BACK, BACK, 2, END],
                # Two runs; the second is followed by the end, and so by no token.
                [0, BACK, 4, BACK, END],
                [0, 1, 2, END],
            ]
        ),
    )
    assert found.keys_B.tolist() == [10, 7, 5, 4]
    assert found.deletions_B.tolist() == [3, 2, 2, 0]
    assert found.runs_B.tolist() == [2, 1, 2, 0]
    assert found.retyped_B.tolist() == [2, 1, 1, 0]
    assert found.redone_B.tolist() == [1, 1, 0, 0]
    assert found.kept_B.tolist() == [3, 2, 0, 3]


def test_the_ratios_are_of_sums() -> None:
    drawn = logs([[0, 1, BACK, BACK, 0, END], [0, BACK, 4, END], [2, 3, END]])
    found = of_samples(SPACE, drawn)
    assert {name: one.mean for name, one in found.items()} == pytest.approx(
        {
            "backspace_rate": 3 / 13,
            "backspace_run": 3 / 2,
            "redo_rate": 1 / 2,
            "actions_per_token": 13 / 4,
        }
    )
    assert {one.count for one in found.values()} == {3}
    # The textbook's error of a ratio, over sequences.
    pairs = [(2, 6), (1, 4), (0, 3)]
    spread = sum((these - 3 / 13 * of) ** 2 for these, of in pairs) * 3 / 2
    assert found["backspace_rate"].standard_error == pytest.approx(math.sqrt(spread) / 13)


def test_prompts_are_not_kept_tokens_and_stay() -> None:
    """The second backspace of the first finds the prompt alone: a key, but no deletion."""
    drawn = logs([[0, BACK, BACK, 0, END], [3, END]], prompts=[[4], [1, 2, 0]])
    found = count(SPACE, drawn)
    assert found.keys_B.tolist() == [5, 2]
    assert found.deletions_B.tolist() == [1, 0]
    assert found.kept_B.tolist() == [1, 1]
    assert found.retyped_B.tolist() == [0, 0], "the key before did nothing"


def test_cut_off_within_a_run_and_padding() -> None:
    drawn = logs([[0, 1, BACK, BACK], [1, 2, 3, 4, 0, BACK, BACK, 0]])
    found = count(SPACE, drawn)
    assert found.runs_B.tolist() == [1, 1]
    assert found.deletions_B.tolist() == [2, 2]
    assert found.retyped_B.tolist() == [0, 1]
    assert found.kept_B.tolist() == [0, 4]
    # Padding is token 0, the one that was rubbed out first of all, and is not typed.
    padded = logs([[0, BACK], [1, 2, 3]])
    assert count(SPACE, padded).retyped_B.tolist() == [0, 0]


def test_what_has_no_denominator_is_left_out() -> None:
    assert set(of_samples(SPACE, logs([[0, 1, END], [END]]))) == {
        "backspace_rate",
        "actions_per_token",
    }
    assert of_samples(SPACE, logs([[0, 1, END]]))["backspace_rate"].mean == 0
    assert set(of_samples(SPACE, logs([[END], [0, BACK, END]]))) == {
        "backspace_rate",
        "backspace_run",
    }


def test_counts_of_random_logs() -> None:
    """Against strings: a run is what a regular expression would find."""
    drawn = random_logs(SPACE, 40, 0, with_prompts=True)
    found = count(SPACE, drawn)
    for row, (actions, length) in enumerate(
        zip(drawn.actions_BT.tolist(), drawn.num_actions_B.tolist(), strict=True)
    ):
        text = "".join("<" if action == BACK else "." for action in actions[:length])
        assert found.runs_B[row] == len([run for run in text.split(".") if run])
        assert found.deletions_B[row] == text.count("<")
        followed = [place for place in range(1, length) if text[place - 1 : place + 1] == "<."]
        assert found.retyped_B[row] == sum(actions[place] != END for place in followed)
