"""Trajectories and weights as arrays, and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rubout.checks import random_logs
from rubout.rollout.wire import load_weights, pack, pack_weights, unpack
from rubout.types import EARNED, ActionSpace, Trajectories


def logs(num_tokens: int, *, full: bool) -> Trajectories:
    space = ActionSpace(num_tokens, 5, backspace=True)
    plain = random_logs(space, 7, 1, with_prompts=full)
    if not full:
        return plain
    return replace(
        plain,
        **{name: torch.randn(plain.actions_BT.shape) for name in EARNED},
        reports={name: torch.randn(len(plain)) for name in ("Good", "Good/part", "actions")},
        intended_BT=plain.actions_BT.flip(1),
    )


def flat(trajectories: Trajectories) -> list[torch.Tensor]:
    held = [getattr(trajectories, name) for name in trajectories.__dataclass_fields__]
    found = [value for value in held if isinstance(value, torch.Tensor)]
    found += (trajectories.reports or {}).values()
    prompts = trajectories.prompts
    return found + ([] if prompts is None else [prompts.tokens_BL, prompts.lengths_B])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("num_tokens", [3, 40_000])
def test_round_trip(num_tokens: int, full: bool) -> None:
    sent = logs(num_tokens, full=full)
    received = unpack(pack(sent, num_tokens + 2))
    for one, other in zip(flat(sent), flat(received), strict=True):
        assert one.dtype == other.dtype
        assert one.equal(other)
    for name in ("prompts", "reports", "intended_BT", *EARNED):
        assert (getattr(received, name) is not None) is full, name
    assert [*(received.reports or {})] == [*(sent.reports or {})]


def test_actions_are_as_small_as_they_may_be() -> None:
    for size, dtype in ((2**15, np.int16), (2**15 + 1, np.int32)):
        assert pack(logs(3, full=False), size)["actions"].dtype == dtype
    largest = logs(3, full=False)
    largest.actions_BT[0, 0] = 2**15 - 1
    assert int(unpack(pack(largest, 2**15)).actions_BT[0, 0]) == 2**15 - 1


def test_what_arrives_is_a_copy() -> None:
    packed = pack(logs(3, full=True), 5)
    for array in packed.values():
        array.flags.writeable = False  # as arrays from Ray's store are
    before = {name: array.copy() for name, array in packed.items()}
    for tensor in flat(unpack(packed)):
        tensor.zero_()
    for name, array in packed.items():
        np.testing.assert_array_equal(array, before[name])


def test_weights_are_copied_both_ways() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    wanted = {name: value.clone() for name, value in source.state_dict().items()}
    packed = pack_weights({"policy": source})
    with torch.no_grad():
        source.weight.zero_()  # the learner moves on: what was published stays
    kept = target.weight
    load_weights(target, packed["policy"])
    assert target.weight is kept, "an optimiser's or a sampler's parameters stay its own"
    for name, value in wanted.items():
        assert target.state_dict()[name].equal(value)
    with torch.no_grad():
        target.weight.fill_(9.0)
    np.testing.assert_array_equal(packed["policy"]["weight"], wanted["weight"].numpy())
    with pytest.raises(RuntimeError):
        load_weights(nn.Linear(4, 2), packed["policy"])
