"""psi-MLE's parts: mixture, weights, demand, and its two ends m = 1 and m = 0."""

from __future__ import annotations

import pytest
import torch

from learners.mle import MLE, MLEConfig
from learners.psi_mle import PsiMLE, PsiMLEConfig, mixture_weights, real_rows
from rubout.discriminators import FILTERS, DiscriminatorConfig, build
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

SPACE = ActionSpace(11, 6)
CONTEXT = Context(SPACE, 8, torch.device("cpu"), Alone())


def data(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (8,), generator=generator).tolist()
    rows = [torch.randint(0, 11, (n,), generator=generator).tolist() for n in lengths]
    return written(SPACE, Sequences.of(rows))


def make(config, cls=PsiMLE):
    torch.manual_seed(5)
    policy = LSTMPolicy(SPACE, LSTMConfig(hidden=8, embedding=8, init_std=0.5))
    return cls(policy, config, CONTEXT)


def test_a_mixture_of_one_is_maximum_likelihood_bit_for_bit():
    psi = make(PsiMLEConfig(mixture=1.0, mle_updates=0, lr=0.01))
    mle = make(MLEConfig(lr=0.01), MLE)
    for update in range(5):
        assert psi.demand(update).rollouts == 0
        ours, theirs = psi.update(data(update), None), mle.update(data(update), None)
        assert ours["loss"] == theirs["loss"]
    for a, b in zip(psi.policy.parameters(), mle.policy.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("weight", ["bounded", "mix", "raw"])
@pytest.mark.parametrize("kind", ["cnn", "lstm"])
@pytest.mark.parametrize("mixture", [0.0, 0.3])
def test_updates_change_policy_and_ratio_and_report_diagnostics(weight, kind, mixture):
    network = DiscriminatorConfig(kind=kind)
    learner = make(
        PsiMLEConfig(mixture=mixture, weight=weight, mle_updates=0, warmup=0, network=network)
    )
    before = [p.clone() for m in learner.modules().values() for p in m.parameters()]
    sampler = Sampler(learner.policy)
    metrics = {}
    for update in range(2):
        count = learner.demand(update).rollouts
        assert count == 16
        metrics = learner.update(data(update), sampler.sample(Request(update, 0, count)))
    assert 0 < metrics["weights/ess"] <= 1 + 1e-6
    assert metrics["ratio/mean_over_q"] > 0
    after = [p for m in learner.modules().values() for p in m.parameters()]
    changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True) if b.requires_grad]
    assert all(changed)


def test_weights_of_equal_ratios_give_the_plain_mean_over_the_mixture():
    learner = make(PsiMLEConfig(mixture=0.5, mle_updates=0, warmup=0))
    for parameter in learner.network.parameters():
        parameter.data.zero_()  # r0 = 1 everywhere: every weight is 1
    sampler = Sampler(learner.policy)
    rollouts = sampler.sample(Request(0, 0, 16))
    batch = data(0)
    is_real = real_rows(8, 0.5)
    log_probs = learner.policy.score(batch, {"log_probs"}).log_probs_BT.sum(1)
    fakes = learner.policy.score(rollouts[1::2], {"log_probs"}).log_probs_BT.sum(1)
    total = torch.where(is_real, log_probs, fakes).sum()
    actions = torch.where(is_real, batch.num_actions_B, rollouts[1::2].num_actions_B).sum()
    learner.config.__dict__["ratio_steps"] = 0
    metrics = learner.update(batch, rollouts)
    assert metrics["loss"] == pytest.approx(float(-total.detach() / actions), rel=1e-5)
    assert metrics["weights/ess"] == pytest.approx(1.0, rel=1e-6)


def test_bounded_weights_stay_below_one_over_m():
    ratios = torch.tensor([-1.0, 0.0, 1e-3, 1.0, 1e3, 1e30])
    for mixture in (0.25, 0.5, 0.75, 1.0):
        weights = mixture_weights(ratios, mixture, "bounded")
        assert weights.max() <= 1 / mixture + 1e-6
        assert weights[3] == 1
        assert (weights >= 0).all()
        assert (weights[1:].diff() >= 0).all() or mixture == 1


@pytest.mark.parametrize(
    ("mixture", "expected"),
    [(0.0, [0] * 8), (1.0, [1] * 8), (0.5, [0, 1] * 4), (0.25, [0, 0, 0, 1] * 2)],
)
def test_real_rows_are_evenly_spread(mixture, expected):
    assert real_rows(8, mixture).long().tolist() == expected


def test_any_share_is_kept_to_within_one_row():
    for mixture in (0.1, 0.3, 0.7, 0.9, 1 / 3):
        assert int(real_rows(100, mixture).sum()) == int(100 * mixture + 1e-9)


def test_demand_follows_the_schedule():
    learner = make(PsiMLEConfig(mle_updates=10, warmup=4))
    assert [learner.demand(u).rollouts for u in (0, 5, 6, 9, 10, 1000)] == [0, 0, 16, 16, 16, 16]


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        PsiMLEConfig(mixture=1.5)
    with pytest.raises(ValueError, match="free needs"):
        PsiMLEConfig(ratio="free")


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_ratio_networks_ignore_what_lies_beyond_the_end(kind):
    torch.manual_seed(0)
    network = build(11, 6, DiscriminatorConfig(kind=kind)).eval()
    tokens = torch.randint(0, 11, (5, 6))
    lengths = torch.tensor([0, 1, 3, 5, 6])
    other = torch.where(torch.arange(6) < lengths.unsqueeze(1), tokens, (tokens + 1) % 11)
    a, b = network(Sequences(tokens, lengths)), network(Sequences(other, lengths))
    assert a.shape == (5,)
    assert torch.equal(a, b)
    narrow = network(Sequences(tokens[:, :3], lengths.clamp(max=3)))
    torch.testing.assert_close(narrow[:3], a[:3], rtol=1e-5, atol=1e-6)


def test_official_filters_are_those_of_the_seqgan_code():
    assert sum(count for _, count in FILTERS["official"]) == 1720
    network = build(11, 20, DiscriminatorConfig(filters="official"))
    assert [c.kernel_size[0] for c in network.convolutions] == [*range(1, 11), 15, 20]
