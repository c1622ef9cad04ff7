"""SeqGAN's parts: the contract, its metrics, any split of a batch, stopped and resumed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.checks import check_learner
from rubout.cli.main import main
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context, Demand
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.training.checkpoint import last
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import Member, members, same_weights, update_as_one

SPACE = ActionSpace(7, 5)
NETWORK = DiscriminatorConfig(embedding=4, hidden=4, dropout=0.0)


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


def make(group: Member | None = None, **values: object) -> SeqGAN:
    options = {"mle_updates": 1, "discriminator_warmup": 1, "discriminator_updates": 1}
    config = SeqGANConfig(**options | {"completions": 2, "discriminator": NETWORK} | values)  # type: ignore[arg-type]
    context = Context(SPACE, 8, torch.device("cpu"), group or Alone())
    torch.manual_seed(5)
    return SeqGAN(policy(), config, context)


def rollouts_for(learner: SeqGAN, update: int) -> Trajectories | None:
    demand = learner.demand(update)
    if not demand.rollouts:
        return None
    request = Request(update, 0, demand.rollouts, paid=demand.paid, completions=demand.completions)
    return Sampler(learner.policy, deepcopy(learner.reward).eval()).sample(request)


@pytest.mark.parametrize(
    "space",
    [ActionSpace(5, 6), ActionSpace(5, 6, eos=False), ActionSpace(5, 4, backspace=True)],
    ids=["eos", "full", "backspace"],
)
@pytest.mark.parametrize("kind", ["cnn", "lstm", "transformer"])
@pytest.mark.parametrize("baseline", ["none", "batch"])
def test_the_contract(space: ActionSpace, kind: str, baseline: str) -> None:
    network = DiscriminatorConfig(kind=kind, embedding=8, hidden=8)  # type: ignore[arg-type]
    config = SeqGANConfig(
        mle_updates=1,
        discriminator_warmup=1,
        discriminator_updates=1,
        completions=2,
        baseline=baseline,  # type: ignore[arg-type]
        discriminator=network,
    )
    check_learner("seqgan", policy, config, space)


def test_demand_and_judge() -> None:
    learner = make(mle_updates=0, discriminator_warmup=0, completions=5, discriminator_share=0.25)
    assert learner.demand(0) == Demand(rollouts=8, completions=5)
    judge = learner.judge()
    assert (judge.name, judge.share) == ("rubout.discriminators:Discriminator", 0.25)
    assert judge.options == {
        "kind": "cnn", "filters": "small", "embedding": 4, "hidden": 4, "layers": 2, "dropout": 0.0,
        "precision": "float32",
    }  # fmt: skip
    assert learner.published() == {"policy": learner.policy, "reward": learner.reward}
    assert learner.reward.network is learner.discriminator, "what is published is what is trained"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"completions": 0}, "learner.completions must be at least 1"),
        ({"discriminator_share": 1.1}, "learner.discriminator-share must be between 0 and 1"),
        ({"discriminator_share": -0.1}, "learner.discriminator-share must be between 0 and 1"),
        ({"generator_updates": 0}, "learner.generator-updates"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        SeqGANConfig(**values)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("baseline", ["none", "batch"])
def test_the_figures_are_their_definitions(baseline: str) -> None:
    learner = make(mle_updates=0, discriminator_warmup=0, baseline=baseline, generator_lr=0.0)
    rollouts = rollouts_for(learner, 0)
    assert rollouts is not None
    assert rollouts.action_values_BT is not None
    values, counts = rollouts.action_values_BT.tolist(), rollouts.num_actions_B.tolist()
    log_probs_BT = learner.policy.score(rollouts, {"log_probs"}).log_probs_BT
    assert log_probs_BT is not None
    total = size = squares = surprise = loss = 0.0
    for row, count in enumerate(counts):
        for step in range(count):
            others = [values[b][step] for b in range(8) if b != row and counts[b] > step]
            base = 0.0
            if baseline == "batch":
                base = sum(others) / len(others) if others else 0.0
            advantage, log_prob = values[row][step] - base, float(log_probs_BT[row, step].detach())
            total += values[row][step]
            size, squares = size + abs(advantage), squares + advantage**2
            surprise, loss = surprise - log_prob, loss - advantage * log_prob
    assert len(set(counts)) > 2, "the test must see what it is about"
    metrics = learner.update(data(0), rollouts)
    actions = sum(counts)
    assert metrics["generator/value"] == pytest.approx(total / actions, rel=1e-5)
    assert metrics["generator/ess"] == pytest.approx(size**2 / squares / actions, rel=1e-5)
    assert metrics["generator/entropy"] == pytest.approx(surprise / actions, rel=1e-5)
    assert 0 < metrics["generator/ess"] <= 1
    assert metrics["generator/gradient_norm"] > 0


def test_alone_a_sequence_has_no_others_to_be_compared_with() -> None:
    found = []
    for baseline in ("none", "batch"):
        learner = make(mle_updates=0, discriminator_warmup=0, baseline=baseline)
        rollouts = rollouts_for(learner, 0)
        assert rollouts is not None
        found.append(learner.update(data(0), rollouts[:1]))
    assert found[0] == found[1]
    assert found[0]["generator/gradient_norm"] > 0


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"baseline": "batch", "clip": 0.3},
        {"discriminator_l2": 5.0, "discriminator_lr": 0.01, "discriminator_steps": 2},
    ],
    ids=["plain", "baseline", "l2"],
)
def test_a_group_is_one_learner_on_the_joined_batch(values: dict[str, object], size: int) -> None:
    alone = make(**values)
    group = [make(member, **values) for member in members(size)]
    for update in range(5):
        rollouts = rollouts_for(alone, update)
        update_as_one(alone, group, data(update), rollouts)
    same_weights(alone, group)


WORDS = (
    "--learner seqgan --task oracle --task.vocabulary 9 --task.length 4 --task.train 40 "
    "--task.validation 8 --task.test 8 --policy.hidden 8 --policy.embedding 8 --batch-size 8 "
    "--learner.mle-updates 1 --learner.discriminator-warmup 1 --learner.discriminator-updates 1 "
    "--learner.completions 2 --learner.discriminator.embedding 4 --evaluate-every 1000 "
    "--evaluate-sequences 8 --samples 2 --log-every 1 --device cpu"
)


@pytest.fixture
def _small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_small_world")
def test_two_updates_and_two_more_are_four(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["train", *WORDS.split(), "--updates", "5", "--out", str(whole)]) == 0
    assert main(["train", *WORDS.split(), "--updates", "2", "--out", str(parts)]) == 0
    assert main(["train", "--out", str(parts), "--resume", "--updates", "5"]) == 0
    for name in ("policy", "discriminator"):
        one, other = (
            load_file(last(path / "checkpoints") / f"{name}.safetensors") for path in (whole, parts)
        )
        assert all(value.equal(other[key]) for key, value in one.items()), name
    told = [
        {
            name: value
            for line in (path / "metrics.jsonl").read_text().splitlines()
            for name, value in json.loads(line).items()
            if name not in {"time", "seconds_per_update"}
        }
        for path in (whole, parts)
    ]
    assert told[0] == told[1]
    assert {"generator/value", "rollout/value_variance", "discriminator/loss"} <= told[0].keys()


@pytest.mark.usefixtures("_small_world")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learner.completions", "0"], "learner.completions must be at least 1"),
        (["--learner.discriminator-steps", "0"], "learner.discriminator-steps"),
        (["--learner.discriminator.embedding", "0"], "at least 1"),
        (["--staleness", "1"], "staleness"),
    ],
)
def test_mistakes_end_in_a_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *WORDS.split(), *words, "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run").exists()
