"""Chunks of logits take each other's place: one is let go before the next is made."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from rubout.keys import blank
from rubout.policies import linear_chunks, linear_scores, network
from rubout.policies.linear_chunks import Head
from rubout.policies.linear_divergence import linear_divergence
from rubout.policies.linear_scores import linear_likelihood
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.products import product
from rubout.rollout import draw
from rubout.types import ActionSpace, Legality

SPACE = ActionSpace(40, 5)
M, D, ROWS = 12, 5, 4  # D + 1 rows of gradients are told apart from ROWS of logits


class Watch:
    """A product that counts how many of its results of whole rows stand at once."""

    def __init__(self) -> None:
        self.made, self.most = 0, 0
        self._results: list[weakref.ref[Tensor]] = []

    def __call__(self, left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        found = product(left, right, bias)
        if found.shape[1] == SPACE.size and len(found) <= ROWS:
            self.made += 1
            self._results.append(weakref.ref(found))  # what is a view of it holds it, too
            self.most = max(self.most, sum(result() is not None for result in self._results))
        return found


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    found = Watch()
    monkeypatch.setattr(linear_chunks, "_CHUNK_ELEMENTS", {"cpu": 0})
    monkeypatch.setattr(linear_chunks, "_LEAST_ROWS", ROWS)
    monkeypatch.setattr(linear_scores, "_KEPT_ELEMENTS", {"cpu": 0})
    monkeypatch.setattr(draw, "_AT_ONCE", {"cpu": 0})
    monkeypatch.setattr(draw, "_LEAST_ROWS", ROWS)
    monkeypatch.setattr(linear_chunks, "product", found)
    monkeypatch.setattr(network, "product", found)
    return found


def head(size: int) -> Head:
    """Of small logits; `size` is the width of its states."""
    generator = torch.Generator().manual_seed(size)
    shapes = (M, size), (SPACE.size, size), (SPACE.size,)
    layer = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    everywhere = torch.ones(M, dtype=torch.bool)
    return Head(*layer, SPACE, Legality(everywhere, ~everywhere, torch.full((M,), -1)))


def test_of_a_likelihood(watch: Watch) -> None:
    actions_M, weights_M = torch.arange(M), torch.ones(M)
    linear_likelihood(head(D), actions_M, weights_M)[0].backward()
    assert (watch.made, watch.most) == (3, 1)


def test_of_scores_and_their_gradients(watch: Watch) -> None:
    chosen_M, logsumexp_M = linear_scores.linear_scores(head(D), torch.arange(M))
    (chosen_M - logsumexp_M).sum().backward()
    assert (watch.made, watch.most) == (6, 1)


def test_of_two_policies(watch: Watch) -> None:
    other = head(D + 1)
    constant = other._replace(
        hidden_MD=other.hidden_MD.detach(),
        weight_AD=other.weight_AD.detach(),
        bias_A=other.bias_A.detach(),
    )
    linear_divergence(head(D), constant, torch.arange(M), torch.ones(M))[0].backward()
    assert (watch.made, watch.most) == (6, 2)


def test_of_a_draw(watch: Watch) -> None:
    policy = LSTMPolicy(SPACE, LSTMConfig(embedding=D, hidden=D)).eval()
    legality_M = blank(SPACE, M, None, "cpu").legality(SPACE)
    with torch.no_grad():
        draw.draw(SPACE, policy.start(M), None, legality_M, torch.rand(M))
    assert (watch.made, watch.most) == (3, 1)
