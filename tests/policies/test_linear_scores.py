"""Chosen logits and logsumexp in chunks, against plain torch."""

import pytest
import torch
from torch import Tensor

from rubout.policies import linear_chunks as module
from rubout.policies import linear_scores as scores_module
from rubout.policies.linear_chunks import Head
from rubout.policies.linear_scores import linear_likelihood, linear_scores
from rubout.types import ActionSpace, Legality

SPACES = {
    "eos": ActionSpace(4, 5),
    "backspace": ActionSpace(4, 5, backspace=True),
    "no-redo": ActionSpace(4, 5, backspace=True, forbid_redo=True),
}
M, D = 13, 3
SIZES = [1.0, 20.0, 300.0]  # of logits: the exponentials of the last are no numbers


def states(space: ActionSpace) -> Legality:
    """Every kind of state: full tapes, nothing to rub out, a forbidden token."""
    rows = torch.arange(M)
    forbidden = torch.where(rows % 4 == 1, rows % space.num_tokens, -1)
    return Legality(rows % 5 != 0, rows % 3 != 0, forbidden if space.forbid_redo else rows * 0 - 1)


def inputs(space: ActionSpace, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of logits of this size."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        values = size**0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    legal = space.mask(states(space)).double()
    actions = torch.multinomial(legal, 1, generator=generator).squeeze(1)
    return normal(M, D), normal(space.size, D), normal(space.size), actions


def plain(
    hidden: Tensor, weight: Tensor, bias: Tensor, actions: Tensor, legal: Tensor
) -> tuple[Tensor, Tensor]:
    logits = (hidden @ weight.T + bias).masked_fill(~legal, -torch.inf)
    return logits.gather(1, actions.unsqueeze(1)).squeeze(1), logits.logsumexp(1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", [0, 2**10])
@pytest.mark.parametrize("rows", [1, 2, 5, M - 1, M, 100])
@pytest.mark.parametrize("name", SPACES)
def test_values_and_gradients(
    name: str, rows: int, kept: int, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the exponentials wait for the backward pass or are made again."""
    space = SPACES[name]
    monkeypatch.setattr(scores_module, "_KEPT_ELEMENTS", {"cpu": kept})
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", {"cpu": rows * space.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    hidden, weight, bias, actions = inputs(space, size)
    expected = plain(hidden, weight, bias, actions, space.mask(states(space)))
    found = linear_scores(Head(hidden, weight, bias, space, states(space)), actions)
    factors = torch.linspace(-1, 2, 2 * M, dtype=torch.float64).view(2, M)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad((torch.stack(expected) * factors).sum(), (hidden, weight, bias))
    given = torch.autograd.grad((torch.stack(found) * factors).sum(), (hidden, weight, bias))
    for one, other in zip(given, wanted, strict=True):
        rounding = 1e-12 * max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one, other, rtol=1e-10, atol=rounding)


@pytest.mark.parametrize("name", SPACES)
def test_gradcheck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACES[name]
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", {"cpu": 4 * space.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    hidden, weight, bias, actions = inputs(space)

    def scores(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return linear_scores(Head(hidden, weight, bias, space, states(space)), actions)

    assert torch.autograd.gradcheck(scores, (hidden, weight, bias))


def test_float32_log_softmax_across_the_real_chunk() -> None:
    """More rows than one chunk of the CPU holds, as in a run."""
    space = ActionSpace(5000, 3, eos=False)
    count = 2 * module._CHUNK_ELEMENTS["cpu"] // space.size + 7
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, 4, generator=generator, requires_grad=True)
    weight = torch.randn(space.size, 4, generator=generator, requires_grad=True)
    bias = torch.randn(space.size, generator=generator, requires_grad=True)
    actions = torch.randint(0, space.size, (count,), generator=generator)
    legality = Legality(torch.ones(count).bool(), torch.zeros(count).bool(), actions * 0 - 1)
    chosen, logsumexp = linear_scores(Head(hidden, weight, bias, space, legality), actions)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    loss = torch.nn.functional.cross_entropy(logits, actions)
    ours = (logsumexp - chosen).mean()
    torch.testing.assert_close(ours, loss, rtol=1e-5, atol=0)
    wanted = torch.autograd.grad(loss, (hidden, weight, bias))
    given = torch.autograd.grad(ours, (hidden, weight, bias))
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_an_illegal_choice_has_probability_zero() -> None:
    space = SPACES["backspace"]
    hidden, weight, bias, _ = inputs(space)
    backspaces = torch.full((M,), space.backspace_id)
    chosen, logsumexp = linear_scores(Head(hidden, weight, bias, space, states(space)), backspaces)
    assert chosen.isinf().equal(~states(space).backspace)
    assert logsumexp.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [1, 5, M, 100])
@pytest.mark.parametrize("name", SPACES)
def test_likelihood_is_the_weighted_sum(
    name: str, rows: int, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradients are those of the scores, times whatever follows."""
    space = SPACES[name]
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", {"cpu": rows * space.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    hidden, weight, bias, actions = inputs(space, size)
    weights = torch.linspace(-1, 2, M, dtype=torch.float64)
    chosen, logsumexp = plain(hidden, weight, bias, actions, space.mask(states(space)))
    expected = (weights * (chosen - logsumexp)).sum()
    found, log_probs = linear_likelihood(
        Head(hidden, weight, bias, space, states(space)), actions, weights
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_probs, (chosen - logsumexp).detach(), rtol=1e-12, atol=1e-12)
    assert not log_probs.requires_grad
    wanted = torch.autograd.grad(expected.square(), (hidden, weight, bias))
    given = torch.autograd.grad(found.square(), (hidden, weight, bias))
    for one, other in zip(given, wanted, strict=True):
        rounding = 1e-12 * max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one, other, rtol=1e-10, atol=rounding)


def test_likelihood_where_nothing_is_differentiated() -> None:
    space = SPACES["eos"]
    hidden, weight, bias, actions = (value.detach() for value in inputs(space))
    weights = torch.ones(M, dtype=torch.float64)
    found, log_probs = linear_likelihood(
        Head(hidden, weight, bias, space, states(space)), actions, weights
    )
    assert found.equal(log_probs.sum())
    assert not found.requires_grad


@pytest.mark.parametrize("logit", [0.0, -60.0, -80.0, -200.0, -1e4, 80.0, 1e4])
@pytest.mark.parametrize("of_bias", [False, True])
def test_however_unlikely_the_choice(logit: float, *, of_bias: bool) -> None:
    """A probability too small for float32 still has its logarithm, and so have the others."""
    space = ActionSpace(3, 2, eos=False)
    hidden = torch.ones(1, 1)
    weight = torch.tensor([[logit], [0.0], [1.0]])
    legality = Legality(torch.tensor([True]), torch.tensor([False]), torch.tensor([-1]))
    actions = torch.tensor([0])
    bias = torch.zeros(3)
    expected = torch.log_softmax(weight.squeeze(1).double(), 0)[0].float()
    if of_bias:
        weight, bias = torch.zeros(3, 1), weight.squeeze(1)
    chosen, logsumexp = linear_scores(Head(hidden, weight, bias, space, legality), actions)
    torch.testing.assert_close(chosen - logsumexp, expected.unsqueeze(0), rtol=1e-6, atol=1e-30)
    _, log_probs = linear_likelihood(
        Head(hidden, weight, bias, space, legality), actions, torch.ones(1)
    )
    torch.testing.assert_close(log_probs, expected.unsqueeze(0), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("space", SPACES.values())
def test_no_states(space: ActionSpace) -> None:
    """As in a share of a batch that is smaller than the number of learners."""
    _, weight, bias, _ = inputs(space)
    hidden = weight.new_zeros(0, D, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    of_none = Head(hidden, weight, bias, space, Legality(none.bool(), none.bool(), none))
    chosen, logsumexp = linear_scores(of_none, none)
    assert chosen.shape == logsumexp.shape == (0,)
    total, log_probs = linear_likelihood(of_none, none, weight.new_zeros(0))
    assert float(total.detach()) == 0
    assert log_probs.shape == (0,)
    for sums in (total, (chosen + logsumexp).sum()):
        found = torch.autograd.grad(sums, (hidden, weight, bias))
        assert [gradient.shape for gradient in found] == [hidden.shape, weight.shape, bias.shape]
        assert not any(gradient.any() for gradient in found)
