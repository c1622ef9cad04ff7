"""CoT's parts: the contract, the order of its steps, any split of a batch, stopped and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from learners.cot import CoT, CoTConfig
from learners.mle import MLE, MLEConfig
from rubout.checks import check_learner
from rubout.cli.main import main
from rubout.learner import Alone, Context, Demand
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.training.checkpoint import last
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import Member, members, same_weights, update_as_one

SPACE = ActionSpace(7, 5)
MEDIATOR = LSTMConfig(embedding=8, hidden=8, dropout=0.0)


def policy(space: ActionSpace = SPACE) -> LSTMPolicy:
    torch.manual_seed(5)
    made = LSTMPolicy(space, LSTMConfig(hidden=8, embedding=8, init_std=0.5))
    if space.eos:
        made.head.bias.data[space.eos_id] += 1.5  # sequences of all lengths
    return made


def data(seed: int) -> Trajectories:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 6, (8,), generator=generator).tolist()
    rows = [torch.randint(0, 7, (n,), generator=generator).tolist() for n in lengths]
    return written(SPACE, Sequences.of(rows))


def own(update: int, model: LSTMPolicy | None = None) -> Trajectories:
    return Sampler(model or policy()).sample(Request(update, 0, 8))


def make(group: Member | None = None, **values: object) -> CoT:
    config = CoTConfig(**{"mediator": MEDIATOR} | values)  # type: ignore[arg-type]
    context = Context(SPACE, 8, torch.device("cpu"), group or Alone())
    return CoT(policy(), config, context)


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "space",
    [ActionSpace(5, 6), ActionSpace(5, 6, eos=False), ActionSpace(5, 4, backspace=True)],
    ids=["eos", "full", "backspace"],
)
@pytest.mark.parametrize("full", [False, True])
def test_the_contract(space: ActionSpace, full: bool) -> None:
    mediator = LSTMConfig(embedding=8, hidden=8, dropout=0.5)
    config = CoTConfig(mle_updates=1, mediator=mediator, mediator_steps=2, full_gradient=full)
    check_learner("cot", policy, config, space)


def test_demand() -> None:
    learner = make(mle_updates=2)
    assert [learner.demand(update).rollouts for update in range(4)] == [0, 0, 8, 8]
    assert learner.demand(2) == Demand(rollouts=8)
    assert CoT.uses_rollouts
    assert not CoT.uses_rewards
    assert make().demand(0).rollouts == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mediator_lr": -0.1}, "learner.mediator-lr and .* must not be negative"),
        ({"mle_updates": -1}, "learner.mle-updates must not be negative"),
        ({"mediator_steps": 0}, "learner.mediator-steps must be at least 1"),
        ({"beta2": 1.0}, r"learner.beta2 must be in \[0, 1\), not 1.0"),
        ({"beta2": -0.1}, r"learner.beta2 must be in \[0, 1\)"),
        ({"lr": -0.1}, "learner.lr"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        CoTConfig(**values)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_options_reach_the_optimisers_and_the_mediator() -> None:
    learner = make(lr=0.1, mediator_lr=0.2, beta2=0.8, weight_decay=0.3)
    found = {
        name: (each.param_groups[0]["lr"], each.param_groups[0]["betas"],
               each.param_groups[0]["weight_decay"])
        for name, each in learner.optimizers().items()
    }  # fmt: skip
    assert found == {"policy": (0.1, (0.9, 0.8), 0.3), "mediator": (0.2, (0.9, 0.8), 0)}
    assert learner.mediator.config == MEDIATOR
    by_default = CoTConfig()
    assert (by_default.lr, by_default.mediator_lr, by_default.beta2) == (0.001, 0.003, 0.95)
    assert (by_default.mediator.embedding, by_default.mediator.dropout) == (64, 0.5)


def typed_scores(learner: CoT, logs: Trajectories) -> tuple[Tensor, Tensor]:
    """KL(G || M) of every state and log G of every action, by the full softmax."""
    own_BTA = learner.policy.score(logs, {"log_softmax"}).log_softmax_BTA
    mediator_BTA = learner.mediator.eval().score(logs, {"log_softmax"}).log_softmax_BTA
    assert own_BTA is not None
    assert mediator_BTA is not None
    kl_BT = (own_BTA.exp() * (own_BTA - mediator_BTA.detach())).sum(2)
    return kl_BT, own_BTA.gather(2, logs.labels_BT.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("slips", [False, True])
def test_an_action_bears_all_that_comes_after_it(full: bool, slips: bool) -> None:
    learner, rollouts = make(full_gradient=full), own(0)
    rollouts = rollouts[rollouts.num_actions_B <= SPACE.max_length]  # never full: all is legal
    if slips:
        meant_BT = (rollouts.actions_BT + rollouts.mask_BT.long()) % SPACE.size
        rollouts = replace(rollouts, intended_BT=meant_BT)
    for module in learner.modules().values():
        module.double()
    kl_BT, log_probs_BT = typed_scores(learner, rollouts)
    total = rollouts.num_actions_B.sum()
    loss = kl_BT.sum() / total
    assert len(kl_BT) > 3
    for row in range(len(kl_BT) if full else 0):
        for step in range(kl_BT.shape[1]):
            later = float(kl_BT[row, step + 1 :].sum().detach())
            loss = loss + log_probs_BT[row, step] * later / total
    held = [parameter for parameter in learner.policy.parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(loss, held)
    metrics = learner._teach_generator(rollouts)
    for parameter, gradient in zip(held, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
    assert metrics["generator/kl"] == pytest.approx(float(kl_BT.sum().detach() / total), rel=1e-9)
    entropy = -float(log_probs_BT.sum().detach() / total)
    assert metrics["generator/entropy"] == pytest.approx(entropy, rel=1e-9)


def test_the_first_updates_may_be_maximum_likelihood() -> None:
    ours = make(mle_updates=3, lr=0.02, lr_warmup=1)
    mle = MLE(policy(), MLEConfig(lr=0.02, clip=0.0, lr_warmup=1), ours.context)
    mle.optimizer = torch.optim.Adam(mle.policy.parameters(), betas=(0.9, 0.95), fused=True)
    before = weights(ours.mediator)
    for update in range(3):
        assert ours.update(data(update), None) == mle.update(data(update), None)
    assert same(weights(ours.policy), weights(mle.policy))
    assert same(weights(ours.mediator), before)


def test_the_generator_goes_first_by_a_mediator_without_dropout() -> None:
    """Its step does not depend on the mediator's own; its figures are those of full masks."""
    found = []
    for values in (
        {},
        {"mediator_lr": 0.5, "mediator_steps": 3},
        {"mediator": LSTMConfig(embedding=8, hidden=8, dropout=0.9)},
    ):
        learner = make(**values)
        torch.manual_seed(1)
        found.append((learner.update(data(0), own(0)), weights(learner.policy)))
    for metrics, taught in found[1:]:
        assert metrics["generator/kl"] == found[0][0]["generator/kl"]
        assert same(taught, found[0][1])
    balanced = {metrics["mediator/balanced_nll"] for metrics, _ in found}
    assert len(balanced) == 3, "the last step's, under dropout where there is some"


def test_neither_step_touches_the_other_network() -> None:
    learner = make()
    rollouts, before = own(0), (weights(learner.policy), weights(learner.mediator))
    learner._teach_generator(rollouts)
    assert same(weights(learner.mediator), before[1])
    assert all(parameter.grad is None for parameter in learner.mediator.parameters())
    taught = weights(learner.policy)
    assert not same(taught, before[0])
    learner._teach_mediator(data(0), rollouts)
    assert same(weights(learner.policy), taught)
    assert not same(weights(learner.mediator), before[1])


def test_every_step_of_the_mediator_is_on_the_same_batch() -> None:
    learner, twin = make(mediator_steps=3), make()
    rollouts = own(0)
    found = learner.update(data(0), rollouts)
    steps = [twin._teach_mediator(data(0), rollouts) for _ in range(3)]
    assert {name: found[name] for name in steps[-1]} == steps[-1]
    assert same(weights(learner.mediator), weights(twin.mediator))


def test_the_gradients_are_clipped() -> None:
    learner, free = make(clip=0.01), make()
    found = [each.update(data(0), own(0)) for each in (learner, free)]
    for which, module in (("generator", "policy"), ("mediator", "mediator")):
        name = f"{which}/gradient_norm"
        assert found[0][name] == found[1][name] > 0.01, "the norm before clipping"
        for each, norm in ((learner, 0.01), (free, found[1][name])):
            parameters = each.modules()[module].parameters()
            grads = [held.grad for held in parameters if held.grad is not None]
            total = torch.cat([grad.flatten() for grad in grads]).norm()
            assert float(total) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("values", [{}, {"full_gradient": True, "clip": 0.02, "mediator_steps": 2}])
def test_a_group_is_one_learner_on_the_joined_batch(values: dict[str, object], size: int) -> None:
    alone = make(mle_updates=1, **values)
    group = [make(member, mle_updates=1, **values) for member in members(size)]
    for update in range(4):
        rollouts = own(update, alone.policy) if update else None
        update_as_one(alone, group, data(update), rollouts)
    same_weights(alone, group)


WORDS = (
    "--learner cot --policy.hidden 8 --policy.embedding 8 --policy.dropout 0.3 --batch-size 8 "
    "--learner.mle-updates 1 --learner.mediator.hidden 8 --learner.mediator.embedding 8 "
    "--learner.lr 0.05 --env.backspace --staleness 1 --evaluate-every 1000 --samples 2 "
    "--log-every 1 --device cpu"
)


def test_two_updates_and_two_more_are_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the {a} sees a {b}" for a in "abcdefg" for b in "hijk") + "\n")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ["train", *WORDS.split(), "--task", str(text)]
    assert main([*words, "--updates", "4", "--out", str(whole)]) == 0
    assert main([*words, "--updates", "2", "--out", str(parts)]) == 0
    assert main(["train", "--out", str(parts), "--resume", "--updates", "4"]) == 0
    for name in ("policy", "mediator"):
        one, other = (
            load_file(last(path / "checkpoints") / f"{name}.safetensors") for path in (whole, parts)
        )
        assert all(value.equal(other[key]) for key, value in one.items()), name
