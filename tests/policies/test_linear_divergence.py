"""Divergences in chunks, against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rubout.policies import linear_chunks as module
from rubout.policies.linear_chunks import Head
from rubout.policies.linear_divergence import linear_divergence
from rubout.types import ActionSpace, Legality

SPACES = {
    "full": ActionSpace(4, 5, eos=False),
    "eos": ActionSpace(4, 5),
    "backspace": ActionSpace(4, 5, backspace=True),
    "no-redo": ActionSpace(4, 5, backspace=True, forbid_redo=True),
}
M = 13


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> ActionSpace:
    return SPACES[request.param]


@pytest.fixture(params=[1, 5, 100])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many states make a chunk."""
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", {"cpu": 0})
    monkeypatch.setattr(module, "_LEAST_ROWS", request.param)
    return int(request.param)


def states(space: ActionSpace) -> Legality:
    """Every kind of state: full tapes, nothing to rub out, a forbidden token."""
    rows = torch.arange(M)
    forbidden = torch.where(rows % 4 == 1, rows % space.num_tokens, -1)
    token = rows % 5 != 0 if space.eos else rows >= 0  # something must be legal
    return Legality(token, rows % 3 != 0, forbidden if space.forbid_redo else rows * 0 - 1)


def head(space: ActionSpace, width: int, seed: int, size: float = 1.0) -> Head:
    """Of logits of this size."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        values = size**0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return Head(normal(M, width), normal(space.size, width), normal(space.size), space,
                states(space))  # fmt: skip


def constant(of: Head) -> Head:
    return of._replace(hidden_MD=of.hidden_MD.detach(), weight_AD=of.weight_AD.detach(),
                       bias_A=of.bias_A.detach())  # fmt: skip


def some_actions(space: ActionSpace) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    legal = space.mask(states(space)).double()
    return torch.multinomial(legal, 1, generator=generator).squeeze(1)


def log_softmax(of: Head) -> Tensor:
    logits = of.hidden_MD @ of.weight_AD.T + of.bias_A
    return logits.masked_fill(~of.space.mask(of.legality_M), -torch.inf).log_softmax(1)


def plain(own: Head, other: Head) -> Tensor:
    """The definition, over the legal actions."""
    legal = own.space.mask(own.legality_M)
    p, q = (log_softmax(each).masked_fill(~legal, 0.0) for each in (own, constant(other)))
    return (p.exp() * (p - q) * legal).sum(1)


def inputs(of: Head) -> tuple[Tensor, Tensor, Tensor]:
    return of.hidden_MD, of.weight_AD, of.bias_A


@pytest.mark.parametrize("size", [1.0, 20.0, 300.0])  # exponentials of the last are no numbers
@pytest.mark.parametrize("other_size", [1.0, 300.0])
def test_values_and_gradients(
    space: ActionSpace, rows: int, size: float, other_size: float
) -> None:
    own, other = head(space, 3, 1, size), head(space, 4, 2, other_size)
    actions = some_actions(space)
    weights = torch.linspace(-1, 2, M, dtype=torch.float64)
    expected = plain(own, other)
    total, kl, log_probs = linear_divergence(own, constant(other), actions, weights)
    torch.testing.assert_close(total, (weights * expected).sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kl, expected.detach(), rtol=1e-12, atol=1e-12)
    chosen = log_softmax(own).detach().gather(1, actions.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_probs, chosen, rtol=1e-12, atol=1e-12)
    assert not kl.requires_grad
    assert not log_probs.requires_grad
    wanted = torch.autograd.grad((weights * expected).sum().square(), inputs(own))
    found = torch.autograd.grad(total.square(), inputs(own))
    for one, gradient in zip(found, wanted, strict=True):
        rounding = 1e-12 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(one, gradient, rtol=1e-10, atol=rounding)


def test_gradcheck(space: ActionSpace, rows: int) -> None:
    own, other, actions = head(space, 3, 1), constant(head(space, 2, 2)), some_actions(space)
    weights = torch.linspace(-1, 2, M, dtype=torch.float64)

    def total(*layer: Tensor) -> Tensor:
        return linear_divergence(
            Head(*layer, own.space, own.legality_M), other, actions, weights
        )[0]  # fmt: skip

    assert torch.autograd.gradcheck(total, inputs(own))


def test_the_other_is_a_constant(space: ActionSpace) -> None:
    own, other = head(space, 3, 1), head(space, 3, 2)
    weights = torch.ones(M, dtype=torch.float64)
    total, _, _ = linear_divergence(own, other, some_actions(space), weights)
    found = torch.autograd.grad(total, inputs(other), allow_unused=True)
    assert found == (None, None, None)
    alone, _, _ = linear_divergence(constant(own), other, some_actions(space), weights)
    assert not alone.requires_grad
    assert alone.equal(total.detach())


def test_weights_of_zero(space: ActionSpace) -> None:
    own, other = head(space, 3, 1), constant(head(space, 4, 2))
    total, kl, _ = linear_divergence(own, other, some_actions(space), torch.zeros(M))
    assert float(total.detach()) == 0
    assert bool((kl > 0).sum() > M / 2), "they differ"
    assert not any(bool(part.any()) for part in torch.autograd.grad(total, inputs(own)))


def test_a_policy_does_not_diverge_from_itself(space: ActionSpace, rows: int) -> None:
    own = head(space, 3, 1)
    total, kl, _ = linear_divergence(own, constant(own), some_actions(space), torch.ones(M))
    assert not kl.any()
    assert not any(bool(part.any()) for part in torch.autograd.grad(total, inputs(own)))


def test_an_illegal_choice_has_probability_zero() -> None:
    space = SPACES["backspace"]
    own, other = head(space, 3, 1), constant(head(space, 4, 2))
    backspaces = torch.full((M,), space.backspace_id)
    _, kl, log_probs = linear_divergence(own, other, backspaces, torch.ones(M))
    assert log_probs.isinf().equal(~states(space).backspace)
    torch.testing.assert_close(kl, plain(own, other).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chosen", [0, 1, 2])
@pytest.mark.parametrize("own_logit", [0.0, -90.0, -200.0, -1e4])
@pytest.mark.parametrize("other_logit", [0.0, -90.0, -200.0, -1e4])
def test_however_unlikely(own_logit: float, other_logit: float, chosen: int) -> None:
    """Probabilities too small for float32, of either policy, and whichever action was chosen."""
    space = ActionSpace(3, 2, eos=False)
    legality = Legality(torch.tensor([True]), torch.tensor([False]), torch.tensor([-1]))

    def with_logits(*logits: float) -> Head:
        weight = torch.tensor(logits).unsqueeze(1).requires_grad_()
        return Head(torch.ones(1, 1), weight, torch.zeros(3), space, legality)

    own, other = with_logits(own_logit, 0.0, 1.0), with_logits(other_logit, 1.0, -0.5)
    total, kl, log_probs = linear_divergence(
        own, constant(other), torch.tensor([chosen]), torch.ones(1)
    )
    logits = own.weight_AD.detach().squeeze(1).double().requires_grad_()
    p, q = logits.log_softmax(0), other.weight_AD.detach().squeeze(1).double().log_softmax(0)
    expected = (p.exp() * (p - q)).sum()
    torch.testing.assert_close(kl, expected.detach().float().view(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_probs, p[chosen].detach().float().view(1), rtol=1e-5, atol=0)
    (wanted,) = torch.autograd.grad(expected, logits)
    (found,) = torch.autograd.grad(total, own.weight_AD)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.squeeze(1), wanted.float(), rtol=1e-5, atol=1e-6 * scale)


def test_float32_across_the_real_chunk() -> None:
    """More rows than one chunk of the CPU holds, as in a run; the logits' means lie apart."""
    space = ActionSpace(5000, 3, eos=False)
    count = 2 * module._CHUNK_ELEMENTS["cpu"] // space.size + 7
    generator = torch.Generator().manual_seed(1)
    actions = torch.randint(0, space.size, (count,), generator=generator)
    legality = Legality(torch.ones(count).bool(), torch.zeros(count).bool(), actions * 0 - 1)

    def normal(width: int, mean: float) -> Head:
        shapes = (count, width), (space.size, width), (space.size,)
        hidden, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
        return Head(hidden, weight, bias + mean, space, legality)

    own, other = normal(4, 0.0), normal(6, 10.0)
    for part in inputs(own):
        part.requires_grad_()
    total, kl, _ = linear_divergence(own, other, actions, torch.full((count,), 1 / count))
    p, q = ((each.hidden_MD.double() @ each.weight_AD.double().T + each.bias_A).log_softmax(1)
            for each in (own, other))  # fmt: skip
    expected = (p.exp() * (p - q)).sum(1)
    torch.testing.assert_close(kl, expected.detach().float(), rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(expected.mean(), inputs(own))
    found = torch.autograd.grad(total, inputs(own))
    for one, gradient in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, gradient, rtol=1e-4, atol=1e-7)
