"""Packing against torch's own boolean indexing."""

from __future__ import annotations

import pytest
import torch

from rubout.policies.packing import Packing


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_packed_entries_and_their_gradients_are_those_of_the_mask(share, shape):
    torch.manual_seed(0)
    real_BS = torch.rand(5, 7) < share
    padded = torch.randn(5, 7, *shape, dtype=torch.float64, requires_grad=True)
    weights = torch.randn_like(padded)
    packing = Packing(real_BS)
    packed = packing.pack(padded)
    assert packed.equal(padded[real_BS])
    again = packing.pad(packed)
    expected = torch.zeros_like(padded)
    expected[real_BS] = padded.detach()[real_BS]
    assert again.equal(expected)
    (again * weights).sum().backward()
    assert padded.grad is not None
    assert padded.grad.equal(torch.where(expected != 0, weights, 0.0))


def test_a_packing_fits_its_own_shape_alone():
    with pytest.raises(AssertionError):
        Packing(torch.ones(2, 3, dtype=torch.bool)).pack(torch.ones(3, 2))
