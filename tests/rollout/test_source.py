"""Rollouts in this process, and the worker that answers without Ray."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rubout.options import build_policy
from rubout.rollout import source as source_module
from rubout.rollout.environment import prepare
from rubout.rollout.sampler import Request, Sampler
from rubout.rollout.source import LocalRollouts, RolloutSpec
from rubout.rollout.wire import pack_weights, unpack
from rubout.types import ActionSpace, Trajectories

SPACE = ActionSpace(5, 6, backspace=True)
SPEC = RolloutSpec("lstm", {"embedding": 6, "hidden": 7, "init_std": 0.7}, SPACE, batch=4)


def same(one: Trajectories, other: Trajectories) -> None:
    for name in one.__dataclass_fields__:
        if name == "prompts":
            continue
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None and right is None) or left.equal(right), name


def test_local_rollouts_answer_under_the_version_published() -> None:
    torch.manual_seed(0)
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    source = LocalRollouts(SPEC, policy)
    source.publish(3, {"policy": policy})
    source.request(0, Request(1, 0, 10))
    before = Sampler(policy).sample(Request(1, 0, 10))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(2.0)
    source.publish(4, {"policy": policy})
    source.request(1, Request(1, 0, 10))
    first, second = source.collect(0), source.collect(1)
    assert first.actions_BT.equal(before.actions_BT), "drawn at the request, in its order"
    assert first.policy_version_B.tolist() == [3] * 10
    assert second.policy_version_B.tolist() == [4] * 10
    assert not first.log_probs_BT.sum().equal(second.log_probs_BT.sum())
    assert (source.losses.requests, source.losses.restarts) == (0, 0)
    source.close()


def test_what_is_restored_is_collected() -> None:
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    source = LocalRollouts(SPEC, policy)
    kept = Sampler(policy).sample(Request(1, 0, 3))
    source.restore(5, kept)
    assert source.collect(5) is kept
    with pytest.raises(KeyError):
        source.collect(5)


class Bias(nn.Module):
    """A reward whose weights are published."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, trajectories: Trajectories) -> Tensor:
        return self.value.detach().expand(len(trajectories)).clone()


def test_what_is_published_reaches_policy_and_reward_of_the_sampler(monkeypatch) -> None:
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    mine, theirs = Bias(), Bias()
    monkeypatch.setattr(source_module, "build_reward", lambda name, space: theirs)
    source = LocalRollouts(replace(SPEC, reward="a:B"), policy)
    mine.value.data.fill_(2.5)
    source.publish(0, {"policy": policy, "reward": mine})
    source.request(0, Request(1, 0, 4))
    assert source.collect(0).rewards_BT.sum(1).tolist() == [2.5] * 4


def test_what_nobody_takes_cannot_be_published() -> None:
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    with pytest.raises(ValueError, match="critic"):
        LocalRollouts(SPEC, policy).publish(0, {"policy": policy, "critic": nn.Linear(1, 1)})


def test_a_worker_without_ray() -> None:
    """The class that becomes an actor, given weights instead of a reference to them."""
    prepare(None)  # before ray is imported, here or by what runs after
    pytest.importorskip("ray")
    from rubout.rollout.worker import RolloutWorker

    torch.manual_seed(0)
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    weights = pack_weights({"policy": policy})
    threads = torch.get_num_threads()
    worker = RolloutWorker(SPEC)
    torch.set_num_threads(threads)
    assert worker.ping()
    found = unpack(worker.sample(Request(1, 0, 4), 2, [weights]))
    same(found, Sampler(policy).sample(Request(1, 0, 4), policy_version=2))
    zeros = {"policy": {name: value * 0 for name, value in weights["policy"].items()}}
    again = unpack(worker.sample(Request(1, 0, 4), 2, [zeros]))
    same(again, found)  # version 2 is here already: nothing is fetched
    changed = unpack(worker.sample(Request(1, 0, 4), 3, [zeros]))
    assert not changed.log_probs_BT.equal(found.log_probs_BT)
