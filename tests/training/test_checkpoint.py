"""Checkpoints are whole or absent, and say so when they are damaged."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from rubout.checks import random_logs
from rubout.checks.common import same
from rubout.errors import UserError
from rubout.learner import Alone
from rubout.rollout.sampler import Request, Sampler
from rubout.training import checkpoint, setup
from rubout.training.checkpoint import RunState

STATE = RunState(3, "abc", 1.5, 2, 1, 1.75)


@pytest.fixture
def learner(config):
    """A new psi-MLE learner with its two networks, after an update."""

    def learner(seed: int = 0, **values):
        run = config("psi_mle", seed=seed, **values)
        task = setup.build_task(run)
        made = setup.build_learner(run, task, Alone(), torch.device("cpu"))
        data = task.split("train")[:8]
        rollouts = Sampler(made.policy).sample(Request(0, 0, 16))
        made.update(data, rollouts)
        return made

    return learner


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, learner, update=3, nll=None):
    state = replace(STATE, update=update, validation_nll=nll, learner=learner.state())
    return checkpoint.save(folder, state, learner, {}, {}, learner.context.space.size)


def everything(learner):
    modules = {
        f"{name}.{key}": value
        for name, module in learner.modules().items()
        for key, value in module.state_dict().items()
    }
    optimizers = {
        f"{name}.{index}.{key}": value
        for name, optimizer in learner.optimizers().items()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    return modules | optimizers


def test_what_is_loaded_is_what_was_saved(learner, folder):
    one, other = learner(0), learner(1)
    before = everything(one)
    assert any(not torch.equal(value, before[key]) for key, value in everything(other).items())
    path = save(folder, one)
    assert path.name == "step-00000003"
    state = checkpoint.load(path, other, "abc")
    assert state == replace(STATE, validation_nll=None, learner={"updates": 1})
    after = everything(other)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rollouts_in_flight_are_kept_exactly(learner, folder):
    made = learner()
    pending = {
        update: Sampler(made.policy).sample(Request(update, 0, 5), policy_version=update - 1)
        for update in (4, 5)
    }
    path = checkpoint.save(folder, STATE, made, pending, {}, made.context.space.size)
    kept = checkpoint.load_pending(path)
    assert kept.keys() == pending.keys()
    for update, before in pending.items():
        after = kept[update]
        assert torch.equal(before.actions_BT, after.actions_BT)
        assert torch.equal(before.log_probs_BT, after.log_probs_BT)
        assert torch.equal(before.num_actions_B, after.num_actions_B)
        assert torch.equal(before.terminated_B, after.terminated_B)
        assert torch.equal(before.policy_version_B, after.policy_version_B)
    checkpoint.verify(path)


def test_memory_is_kept_exactly(learner, folder):
    made = learner()
    space = made.context.space
    plain = random_logs(space, 6, 1)
    memory = {
        "0": plain,
        "10": random_logs(space, 6, 2, with_prompts=True),
        "rewarded/2": replace(plain, rewards_BT=torch.randn(plain.actions_BT.shape)),
        "slips": replace(plain, intended_BT=plain.actions_BT.flip(1)),
    }
    path = checkpoint.save(folder, STATE, made, {}, memory, space.size)
    kept = checkpoint.load_memory(path)
    assert list(kept) == list(memory)
    assert same(kept, memory)
    assert checkpoint.load_pending(path) == {}
    content = bytearray((path / "memory.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "memory.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged: memory.npz"):
        checkpoint.load(path, made, "abc")


def test_without_memory_there_is_no_file_of_it(learner, folder):
    path = save(folder, learner())
    assert not (path / "memory.npz").exists()
    assert checkpoint.load_memory(path) == {}


@pytest.mark.parametrize(
    ("fails", "again"),
    [
        ("save_file", False),
        ("torch.save", False),
        ("sha256", False),
        ("replace", False),
        ("torch.save", True),
        ("sha256", True),
    ],
)
def test_a_crash_while_saving_leaves_no_half_checkpoint(learner, folder, monkeypatch, fails, again):
    made = learner()
    save(folder, made, update=1)
    if again:  # the same update was saved before: it must not be lost either
        save(folder, made)
    before = checkpoint.checkpoints(folder)

    def crash(*_, **__):
        raise OSError(28, "No space left on device")

    if fails == "torch.save":
        monkeypatch.setattr(torch, "save", crash)
    elif fails == "replace":
        monkeypatch.setattr(type(folder), "replace", crash)
    else:
        monkeypatch.setattr(checkpoint, fails, crash)
    start = before[-1].name if before else "the beginning"
    with pytest.raises(UserError, match=f"No space .* --resume goes on from {start}"):
        save(folder, made)
    monkeypatch.undo()
    assert checkpoint.checkpoints(folder) == before
    assert sorted(folder.iterdir()) == before, "nothing half-written lies about"
    for path in before:
        checkpoint.verify(path)


def test_a_folder_without_a_manifest_is_no_checkpoint(learner, folder):
    path = save(folder, learner())
    torn = folder / "step-00000009"
    shutil.copytree(path, torn)
    (torn / "manifest.json").unlink()
    assert checkpoint.last(folder) == path


@pytest.mark.parametrize(
    "name", ["policy.safetensors", "ratio.safetensors", "optimizers.pt", "state.json"]
)
def test_verify_sees_a_changed_bit_and_a_missing_file(learner, folder, name):
    path = save(folder, learner())
    checkpoint.verify(path)
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"damaged: {name}"):
        checkpoint.verify(path)
    (path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        checkpoint.verify(path)


def test_another_vocabulary_or_network_is_refused(learner, folder):
    path = save(folder, learner())
    with pytest.raises(UserError, match=r"of another vocabulary \(abc, not xyz\)"):
        checkpoint.load(path, learner(), "xyz")
    wider = learner(policy_options={"embedding": 8, "hidden": 9})
    with pytest.raises(UserError, match="does not fit this network"):
        checkpoint.load(path, wider, "abc")


def test_best_is_the_lowest_validation_nll(learner, folder):
    made = learner()
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.best(folder)
    for update, nll in ((1, None), (2, 3.0), (3, 1.0), (4, 2.0), (5, None)):
        save(folder, made, update, nll)
    assert checkpoint.best(folder).name == "step-00000003"
    assert checkpoint.last(folder).name == "step-00000005"


def test_best_is_the_newest_where_nothing_was_evaluated(learner, folder):
    made = learner()
    for update in (1, 2):
        save(folder, made, update)
    assert checkpoint.best(folder) == checkpoint.last(folder)


def test_prune_spares_the_newest_and_the_best(learner, folder):
    made = learner()
    for update, nll in ((1, 1.0), (2, 3.0), (3, None), (4, 2.0), (5, 2.5)):
        save(folder, made, update, nll)
    checkpoint.prune(folder, 2)
    names = [int(path.name.removeprefix("step-")) for path in checkpoint.checkpoints(folder)]
    assert names == [1, 4, 5]


def test_a_checkpoint_brings_no_options_of_its_optimisers(learner, folder):
    """A trial that goes on from another's checkpoint keeps the rate that it was given."""
    one, other = learner(0), learner(1)
    for optimizer in other.optimizers().values():
        for group in optimizer.param_groups:
            group["lr"] = 0.25
    checkpoint.load(save(folder, one), other, "abc")
    assert same(everything(one), everything(other))
    rates = [group["lr"] for item in other.optimizers().values() for group in item.param_groups]
    assert rates == [0.25] * len(rates)
    assert rates
