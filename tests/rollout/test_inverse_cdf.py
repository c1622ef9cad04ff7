"""Draws by blocks of actions, against the plain definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.rollout.draw import uniforms
from rubout.rollout.inverse_cdf import SUMS, Located, locate, pick

LARGEST = 1 - 2.0**-24


def inverse_cdf(weights_BA: Tensor, uniforms_B: Tensor) -> Tensor:
    """Both steps, the rows located in two parts; the weights that are told are those drawn by."""
    half = len(weights_BA) // 2
    parts = [slice(half), slice(half, None)] if half else [slice(None)]
    found = Located.cat([locate(weights_BA[part], uniforms_B[part].unsqueeze(1)) for part in parts])
    actions_B, weights_B = pick(found, weights_BA.shape[1])
    assert weights_B.equal(weights_BA.gather(1, actions_B.unsqueeze(1)).squeeze(1))
    torch.testing.assert_close(found.totals_D1, weights_BA.sum(1, keepdim=True), rtol=1e-6, atol=0)
    return actions_B


def is_drawn(weights_BA: Tensor, uniforms_B: Tensor, actions_B: Tensor) -> Tensor:
    """Whether each number lies in the share of its action, in float64 but for their rounding."""
    cdf_BA = weights_BA.double().cumsum(1)
    upto_B = cdf_BA.gather(1, actions_B.unsqueeze(1)).squeeze(1)
    from_B = upto_B - weights_BA.double().gather(1, actions_B.unsqueeze(1)).squeeze(1)
    number_B, total_B = uniforms_B.double() * cdf_BA[:, -1], cdf_BA[:, -1]
    slack_B = 4 * 2.0**-23 * total_B
    return (from_B - slack_B <= number_B) & (number_B <= upto_B + slack_B)


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 1e-30, 1e-8, 0.1, 1.0, 3.0]), min_size=1, max_size=8),
    number=st.integers(0, 2**24 - 1) | st.sampled_from([0, 2**24 - 1]),
)
def test_inverse_cdf(weights: list[float], number: int) -> None:
    probs = torch.tensor([weights])
    if float(probs.sum()) == 0:
        probs[0, -1] = 1.0
    u = torch.tensor([number * 2.0**-24])
    action = int(inverse_cdf(probs, u))
    assert 0 <= action < probs.shape[1]
    assert float(probs[0, action]) > 0
    assert is_drawn(probs, u, torch.tensor([action])).all()


def test_extremes() -> None:
    probs = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).repeat(2, 1)
    assert inverse_cdf(probs, torch.tensor([0.0, LARGEST])).tolist() == [1, 3]
    only = torch.tensor([[0.0, 0.0, 1e-30]])
    assert inverse_cdf(only, torch.tensor([LARGEST])).tolist() == [2]
    for total in SUMS:
        weights = torch.tensor([[0.0, total, 0.0]])
        for number in (0.0, 2.0**-24, LARGEST):
            assert inverse_cdf(weights, torch.tensor([number])).tolist() == [1]


@pytest.mark.parametrize("num_actions", [1, 2, 63, 64, 65, 128, 129, 500, 5000])
@pytest.mark.parametrize("zeros", ["none", "first", "last", "half", "all but one"])
def test_blocks_do_not_show(num_actions: int, zeros: str) -> None:
    """The plain draw of each row in float64, but for a few where rounding decides."""
    count = 400 if num_actions > 1000 else 3000
    generator = torch.Generator().manual_seed(num_actions)
    weights_BA = torch.rand(count, num_actions, generator=generator) ** 3 + 1e-4
    places_BA = torch.arange(num_actions).expand(count, -1)
    kept_B1 = (uniforms(1, torch.arange(count), 0) * num_actions).long().unsqueeze(1)
    dropped_BA = {
        "none": torch.zeros_like(places_BA, dtype=torch.bool),
        "first": places_BA < kept_B1,
        "last": places_BA > kept_B1,
        "half": torch.rand(count, num_actions, generator=generator) < 0.5,
        "all but one": torch.ones_like(places_BA, dtype=torch.bool),
    }[zeros]
    weights_BA = weights_BA.masked_fill(dropped_BA & (places_BA != kept_B1), 0)
    weights_BA = weights_BA / weights_BA.sum(1, keepdim=True)
    numbers_B = uniforms(2, torch.arange(count), 0)
    numbers_B[:100], numbers_B[100:200] = 0.0, LARGEST
    drawn_B = inverse_cdf(weights_BA, numbers_B)
    assert drawn_B.dtype == torch.int64
    assert drawn_B.shape == (count,)
    assert int(drawn_B.min()) >= 0
    assert int(drawn_B.max()) < num_actions
    assert bool((weights_BA.gather(1, drawn_B.unsqueeze(1)) > 0).all()), "an action of weight 0"
    assert bool(is_drawn(weights_BA, numbers_B, drawn_B).all())
    assert drawn_B[:100].equal((weights_BA[:100] > 0).int().argmax(1))
    cdf_BA = weights_BA.double().cumsum(1)
    expected_B1 = torch.searchsorted(
        cdf_BA, numbers_B.double().unsqueeze(1) * cdf_BA[:, -1:], right=True
    )
    others = int((drawn_B != expected_B1.squeeze(1)).sum())
    assert others <= 2 + 1e-6 * count * num_actions, "more than rounding explains"


@pytest.mark.parametrize("num_actions", [2, 65, 500])
def test_weights_need_not_be_probabilities(num_actions: int) -> None:
    weights_BA = torch.rand(500, num_actions, generator=torch.Generator().manual_seed(0))
    numbers_B = uniforms(3, torch.arange(500), 0)
    whole = inverse_cdf(weights_BA, numbers_B)
    assert whole.equal(inverse_cdf(weights_BA * 2.0**20, numbers_B))
    assert whole.equal(inverse_cdf(weights_BA.double(), numbers_B))
    wide = torch.cat([weights_BA, torch.zeros(500, 100)], dim=1)
    assert whole.equal(inverse_cdf(wide[:, :num_actions], numbers_B)), "rows lie apart"
    assert float((whole == inverse_cdf(wide, numbers_B)).float().mean()) > 0.99


def test_frequencies() -> None:
    probs = torch.tensor([0.5, 0.0, 0.2, 0.3])
    count = 20_000
    actions = inverse_cdf(probs.expand(count, -1), uniforms(5, torch.arange(count), 0))
    shares = torch.bincount(actions, minlength=4) / count
    torch.testing.assert_close(shares, probs, rtol=0, atol=0.01)


@pytest.mark.parametrize("num_actions", [128, 130])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_a_sum_that_is_no_number_is_told(value: float, num_actions: int) -> None:
    """And does not disturb the other rows."""
    weights = torch.ones(3, num_actions)
    weights[1] = value
    found = locate(weights, torch.full((3, 1), 0.99))
    torch.testing.assert_close(found.totals_D1[1], torch.tensor([value]), equal_nan=True)
    place = int(0.99 * num_actions)
    assert pick(found, num_actions)[0][[0, 2]].tolist() == [place, place]
