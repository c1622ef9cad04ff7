"""Every learner's part of the action logs, put together and taken apart again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from learners.sequence_match import SequenceMatch, SequenceMatchConfig
from rubout.checks import random_logs
from rubout.checks.common import same
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.training.gather import gather
from rubout.training.run import Run
from rubout.types import EARNED, ActionSpace, Sequences, Trajectories
from tests.learners.group import members, split

SPACE = ActionSpace(5, 4, backspace=True)
WIDTH = 24


def logs(seed: int, *, prompts: bool = False, earned: bool = False) -> Trajectories:
    plain = random_logs(SPACE, 3, seed, with_prompts=prompts)
    plain = replace(plain, policy_version_B=torch.arange(3) + seed)
    if not earned:
        return plain
    values = {name: torch.randn(plain.actions_BT.shape) * plain.mask_BT for name in EARNED}
    reports = {name: torch.randn(3) for name in ("Good", "Better")}
    return replace(plain, **values, reports=reports)


def gathered(parts: list[Trajectories]) -> list[Trajectories]:
    """What each rank is given."""
    group = members(len(parts))
    with ThreadPoolExecutor(len(parts)) as pool:
        ends = [
            pool.submit(gather, member, part, WIDTH)
            for member, part in zip(group, parts, strict=True)
        ]
    return [end.result() for end in ends]


def narrowed(batch: Trajectories) -> Trajectories:
    """Prompts as wide as their longest: how much padding they travel with is of no interest."""
    prompts = batch.prompts
    return replace(batch, prompts=None if prompts is None else Sequences.of(prompts.lists()))


@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("earned", [False, True])
@pytest.mark.parametrize("slips", [[], [1], [0, 1, 2]])
def test_all_ranks_get_all_parts_in_order(prompts: bool, earned: bool, slips: list[int]) -> None:
    parts = [logs(seed, prompts=prompts, earned=earned) for seed in (3, 4, 5)]
    assert len({part.actions_BT.shape[1] for part in parts}) > 1
    for rank in slips:
        parts[rank] = replace(parts[rank], intended_BT=parts[rank].actions_BT.flip(1))
    whole = Trajectories.cat(parts)
    for found in gathered(parts):
        assert same(narrowed(found), narrowed(whole))


def test_alone_nothing_is_copied() -> None:
    part = logs(1)
    assert gather(Alone(), part, WIDTH) is part


@pytest.mark.parametrize("size", [1, 2, 4])
def test_what_was_gathered_is_taken_back_by_every_rank(size: int) -> None:
    """`Run.restore` undoes `gather`."""
    whole = {str(number): random_logs(SPACE, 8, number) for number in range(3)}

    class Part(Run):
        def __init__(self, learner: SequenceMatch) -> None:
            self.learner, self.group = learner, learner.context.group
            self.device = torch.device("cpu")

    for rank, member in enumerate(members(size)):
        policy = LSTMPolicy(SPACE, LSTMConfig(hidden=4, embedding=4))
        context = Context(SPACE, 8, torch.device("cpu"), member)
        learner = SequenceMatch(policy, SequenceMatchConfig(stride=1), context)
        Part(learner).restore({}, whole)
        expected = {name: split(batch, size)[rank] for name, batch in whole.items()}
        assert same(learner.memory(), expected)
