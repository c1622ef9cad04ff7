"""Rollouts in this process, and the worker that answers without Ray."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rubout.checks.common import same
from rubout.options import build_policy
from rubout.rollout.environment import prepare
from rubout.rollout.rewards import RewardSpec
from rubout.rollout.sampler import Request, Sampler
from rubout.rollout.source import LocalRollouts, RolloutSpec
from rubout.rollout.wire import pack_weights, unpack
from rubout.types import ActionSpace, Trajectories
from tests.rollout.fleet_plugins import Judge, JudgeConfig

SPACE = ActionSpace(5, 6, backspace=True)
SPEC = RolloutSpec("lstm", {"embedding": 6, "hidden": 7, "init_std": 0.7}, SPACE, batch=4)


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


JUDGE = RewardSpec("tests.rollout.fleet_plugins:Judge", {"scale": 3.0}, 0.25)
LENGTH = RewardSpec("tests.rollout.fleet_plugins:Slow", {}, 0.75)


def test_what_is_published_reaches_policy_and_judge_of_the_sampler() -> None:
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    mine = Judge(SPACE, JudgeConfig())
    source = LocalRollouts(replace(SPEC, judge=JUDGE), policy)
    for update, worth in enumerate((2.5, -1.0)):
        mine.worth_A.data.fill_(worth)
        source.publish(update, {"policy": policy, "reward": mine})
        mine.worth_A.data.fill_(100.0)  # the learner moves on: what was published stays
        source.request(update, Request(1, 0, 10))
        found = source.collect(update)
        paid_B = torch.full((10,), worth * 3.0 * 0.25)
        torch.testing.assert_close(found.rewards_BT.sum(1), paid_B)
        assert found.reports.keys() == {"Judge", "Judge/first"}
        torch.testing.assert_close(found.reports["Judge"], paid_B / 0.25)  # its own, unshared
        torch.testing.assert_close(found.reports["Judge/first"], torch.full((10,), worth))


def test_a_judge_and_a_reward_are_added() -> None:
    """Only the judge is trained: the run's own reward takes no weights."""
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    mine = Judge(SPACE, JudgeConfig())
    torch.nn.init.normal_(mine.worth_A)
    source = LocalRollouts(replace(SPEC, judge=JUDGE, reward=LENGTH), policy)
    source.publish(0, {"policy": policy, "reward": mine})
    source.request(0, Request(1, 0, 6))
    found = source.collect(0)
    judged_B, length_B = 3.0 * mine(found).detach(), found.num_actions_B.float()
    torch.testing.assert_close(found.rewards_BT.sum(1), 0.25 * judged_B + 0.75 * length_B)
    torch.testing.assert_close(found.reports["Judge"], judged_B)
    torch.testing.assert_close(found.reports["Slow"], length_B)
    source = LocalRollouts(replace(SPEC, reward=LENGTH), policy)
    with pytest.raises(ValueError, match="publishes 'reward'"):
        source.publish(0, {"policy": policy, "reward": mine})


def test_what_nobody_takes_cannot_be_published() -> None:
    policy = build_policy(SPEC.policy, SPEC.policy_options, SPACE)
    with pytest.raises(ValueError, match="critic"):
        LocalRollouts(SPEC, policy).publish(0, {"policy": policy, "critic": nn.Linear(1, 1)})


def test_a_worker_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert same(found, Sampler(policy).sample(Request(1, 0, 4), policy_version=2))
    zeros = {"policy": {name: value * 0 for name, value in weights["policy"].items()}}
    again = unpack(worker.sample(Request(1, 0, 4), 2, [zeros]))
    assert same(again, found)  # version 2 is here already: nothing is fetched
    changed = unpack(worker.sample(Request(1, 0, 4), 3, [zeros]))
    assert not changed.log_probs_BT.equal(found.log_probs_BT)

    counts, whole = list[int](), Sampler(policy).sample(Request(1, 0, 10))
    sample = Sampler.sample

    def counted(sampler: Sampler, request: Request, **options: int) -> Trajectories:
        counts.append(request.count)
        return sample(sampler, request, **options)

    monkeypatch.setattr(Sampler, "sample", counted)
    several = unpack(worker.sample(Request(1, 0, 10), 4, [weights]))
    assert several.actions_BT.equal(whole.actions_BT)
    assert counts == [4, 4, 2], "a share of several batches is typed a batch at a time"
