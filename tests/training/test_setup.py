"""What a policy starts with: fresh, or from a run that may not know a backspace."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from rubout.errors import UserError
from rubout.learner import Alone
from rubout.policy import Policy
from rubout.rollout.sampler import EnvConfig
from rubout.training import checkpoint, setup
from rubout.training.run_folder import RunFolder

POLICIES = {
    "lstm": {"embedding": 8, "hidden": 8, "dropout": 0.3},
    "transformer": {"layers": 2, "width": 8, "heads": 2, "dropout": 0.3},
}


@pytest.fixture(params=POLICIES)
def given(config, request):
    """A config of behavioural cloning with a backspace, of any policy."""
    return config(
        "behavioural_cloning",
        policy=request.param,
        policy_options=POLICIES[request.param],
        env=EnvConfig(backspace=True),
    )


def without(config):
    """The same policy, taught by likelihood alone."""
    return replace(config, learner="mle", env=EnvConfig())


def built(config):
    """The policy a run starts with, and the training data."""
    task = setup.build_task(config)
    learner = setup.build_learner(config, task, Alone(), torch.device("cpu"))
    return learner.policy, task.split("train")


def mean_odds(policy, data) -> float:
    """The geometric mean of the odds of a backspace where one is legal."""
    policy.eval()
    with torch.no_grad():
        rows = policy.score(data, {"log_softmax"}).log_softmax_BTA[data.mask_BT]
    found = rows[:, policy.space.backspace_id].double()
    legal = found[found.isfinite()]
    assert 0 < len(legal) < len(found), "at the start there is nothing to rub out"
    return float((legal - torch.log1p(-legal.exp())).mean().exp())


RARE = 1e-3 / (1 - 1e-3)


def test_a_fresh_policy_rubs_out_rarely(given):
    policy, data = built(given)
    assert policy.training
    assert mean_odds(policy, data[:64]) == pytest.approx(RARE, rel=1e-3)
    key = policy.space.backspace_id
    torch.testing.assert_close(policy.head.weight[key], policy.head.weight[:key].mean(0))


def test_a_run_without_a_backspace_is_given_one(given, train, tmp_path):
    train(without(given), tmp_path / "mle")
    policy, data = built(replace(given, init=tmp_path / "mle"))
    assert mean_odds(policy, data[:64]) == pytest.approx(RARE, rel=1e-3)
    path = checkpoint.best(tmp_path / "mle" / "checkpoints")
    before, after = load_file(path / "policy.safetensors"), policy.state_dict()
    assert before.keys() == after.keys()
    key = policy.space.backspace_id
    for name, value in before.items():
        kept = after[name]
        if name.startswith("head."):
            assert len(kept) == len(value) + 1 == key + 1
            kept = kept[:key]
        assert kept.equal(value), name
    torch.testing.assert_close(policy.head.weight[key], policy.head.weight[:key].mean(0))


def test_everything_else_is_as_likely_as_before(given, train, tmp_path):
    """Given that nothing is rubbed out: in every state the differences of logits are the same."""
    train(without(given), tmp_path / "mle")
    policy, data = built(replace(given, init=tmp_path / "mle"))
    old, _ = built(replace(without(given), init=tmp_path / "mle"))
    rows = []
    for model in (policy, old):
        model.eval()
        with torch.no_grad():
            found = model.score(data, {"log_softmax"}).log_softmax_BTA[data.mask_BT]
        rows.append(found[:, : old.space.size])
    grown, plain = rows
    torch.testing.assert_close(
        grown - grown.logsumexp(1, keepdim=True), plain, rtol=1e-5, atol=1e-5
    )
    assert 0.95 < float(grown.logsumexp(1).exp().mean()) < 1


def test_a_run_with_a_backspace_keeps_its_own(given, train, tmp_path):
    path = tmp_path / "cloned"
    options = given.learner_options | {"noise": {"rate": 0.3}}
    train(replace(given, learner_options=options), path)
    policy, data = built(replace(given, init=path))
    before = load_file(checkpoint.best(path / "checkpoints") / "policy.safetensors")
    after = policy.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    assert abs(math.log(mean_odds(policy, data[:64]) / RARE)) > 0.1, "as it was learned"


def test_it_begins_from_the_checkpoint_that_is_named(given, train, tmp_path):
    plain = replace(without(given), updates=6, evaluate_every=4)  # the last is not evaluated
    train(plain, tmp_path / "mle")
    folder = tmp_path / "mle" / "checkpoints"
    paths = {"best": checkpoint.best(folder), "last": checkpoint.last(folder)}
    assert paths["best"] != paths["last"]
    for which in (None, "best", "last"):
        policy, _ = built(replace(plain, init=tmp_path / "mle", init_checkpoint=which))
        saved = load_file(paths[which or "best"] / "policy.safetensors")
        assert all(policy.state_dict()[name].equal(value) for name, value in saved.items())


def test_a_policy_without_a_backspace_stays_as_it_is_drawn(given):
    one, _ = built(without(given))
    other, _ = built(without(given))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert one.head.weight.shape[0] == one.space.size == one.space.num_tokens + 1


class Alien(Policy):
    """No network with a head."""

    def __init__(self, space):
        super().__init__()
        self.space = space

    def score(self, trajectories, want, temperature=1.0):
        raise NotImplementedError

    def start(self, batch_size, prompts=None):
        raise NotImplementedError


def test_a_policy_of_another_kind_cannot_be_given_one(config, train, tmp_path):
    train(config(), tmp_path / "run")
    folder = RunFolder.existing(tmp_path / "run")
    policy = Alien(replace(folder.space(), backspace=True))
    with pytest.raises(UserError, match="has no backspace, and this policy cannot be given one"):
        setup.load_policy(folder, policy, "any")


@pytest.mark.parametrize(("learner", "place"), [("mle", 0), ("sequence_match", -1)])
def test_which_checkpoint_stands_for_a_run(config, train, tmp_path, monkeypatch, learner, place):
    given = config(learner)
    train(given, tmp_path / "run")
    folder = RunFolder.existing(tmp_path / "run")
    policy, _ = built(given)
    fingerprint = setup.build_task(given).codec.fingerprint
    found = checkpoint.checkpoints(folder.checkpoints)
    assert len(found) > 1
    monkeypatch.setattr(checkpoint, "best", lambda path: found[0])
    assert setup.load_policy(folder, policy, fingerprint) == found[place]
    assert setup.load_policy(folder, policy, fingerprint, "best") == found[0]
    assert setup.load_policy(folder, policy, fingerprint, "last") == found[-1]


@pytest.mark.parametrize(("workers", "stride"), [(0, 8), (1, 8), (2, 4), (4, 2)])
def test_what_a_learner_of_a_group_refuses_shows_before_any_starts(config, workers, stride):
    given = config("sequence_match", learner_workers=workers)
    options = given.learner_options | {"noise": {}}
    task = setup.build_task(given)
    setup.check(replace(given, learner_options=options | {"stride": stride}), task)
    with pytest.raises(UserError, match=r"learner.stride must be at most"):
        setup.check(replace(given, learner_options=options | {"stride": stride + 1}), task)
