"""Products by oneDNN are torch's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rubout.products import Linear, Packs, linear, prepacked, product, rows_at_once

sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(rows=sizes, inner=sizes, columns=sizes, turned=st.booleans(), bias=st.booleans())
def test_product(rows: int, inner: int, columns: int, *, turned: bool, bias: bool) -> None:
    """Of matrices that lie in memory by rows or by columns."""
    generator = torch.Generator().manual_seed(rows + 41 * inner + 1681 * columns)
    left = torch.randn(inner, rows, generator=generator).T
    right = torch.randn(inner, columns, generator=generator).T
    if turned:
        left, right = left.contiguous(), right.contiguous()
    added = torch.randn(columns, generator=generator) if bias else None
    wanted = left.double() @ right.double().T + (0.0 if added is None else added.double())
    found = product(left, right, added)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 40), inner=sizes, columns=sizes, turned=st.booleans())
def test_a_prepacked_matrix_gives_the_same_bits(
    rows: int, inner: int, columns: int, *, turned: bool
) -> None:
    generator = torch.Generator().manual_seed(rows + 41 * inner + 1681 * columns)
    left = torch.randn(rows, inner, generator=generator)
    right = torch.randn(inner, columns, generator=generator).T
    right = right.contiguous() if turned else right
    added = torch.randn(columns, generator=generator)
    assert product(left, prepacked(right), added).equal(product(left, right, added))


def test_a_prepacked_matrix_is_a_constant() -> None:
    right = torch.randn(5, 4, requires_grad=True)
    assert not product(torch.randn(3, 4), prepacked(right)).requires_grad


def test_packs_keep_parameters_as_they_were_where_they_are_used() -> None:
    torch.manual_seed(0)
    layer, left, packs = Linear(4, 3), torch.randn(2, 4), Packs()
    constant = torch.randn(3, 4)  # no parameter
    with torch.no_grad():
        before = layer(left)
        with packs.used():
            assert layer(left).equal(before)
            layer.weight.add_(1.0)
            assert layer(left).equal(before)
            with Packs().used():
                assert not layer(left).allclose(before), "packed later"
            assert layer(left).equal(before)
            first = product(left, constant)
            constant.add_(1.0)
            assert not product(left, constant).allclose(first)
        changed = layer(left)
        assert not changed.allclose(before)
        assert product(left, packs.of(layer.weight), layer.bias).equal(before)
        with Packs().used():
            assert layer(left).equal(changed)


def test_packs_are_no_thread_of_anothers() -> None:
    layer, left = Linear(4, 3).requires_grad_(requires_grad=False), torch.randn(2, 4)
    with Packs().used(), ThreadPoolExecutor(1) as elsewhere:
        before = layer(left)
        layer.weight.add_(1.0)
        assert layer(left).equal(before)
        assert not elsewhere.submit(layer, left).result().allclose(before)


@given(
    rows=st.integers(0, 10_000),
    columns=st.integers(1, 300),
    elements=st.integers(1, 100_000),
    least=st.integers(1, 200),
)
def test_rows_at_once(rows: int, columns: int, elements: int, least: int) -> None:
    """As near to what is wanted as parts of one size come."""
    size = rows_at_once(rows, columns, elements=elements, least=least)
    wanted = max(least, elements // columns)
    parts = -(-rows // size)
    assert 1 <= size <= 1.5 * wanted + 1
    assert parts < 2 or 2 * size >= wanted
    assert size * parts - rows <= parts, "the last is much smaller"


@pytest.mark.parametrize(("rows", "size"), [(64, 64), (256, 256), (1024, 205), (4096, 205)])
def test_rows_at_once_are_as_many_as_fit_best(rows: int, size: int) -> None:
    """Of 5,000 columns 209 rows are wanted; rows that are few more are not cut in two."""
    assert rows_at_once(rows, 5000, elements=2**20, least=64) == size
    assert rows_at_once(rows, 50_000, elements=2**20, least=64) == 64


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_stay_what_they_are(dtype: torch.dtype) -> None:
    left, right = torch.randn(3, 4, dtype=dtype), torch.randn(5, 4, dtype=dtype)
    assert product(left, right).equal(functional.linear(left, right))
    assert product(left, prepacked(right)).equal(functional.linear(left, right))


@pytest.mark.parametrize(("inner", "columns"), [(32, 5000), (128, 512), (512, 300)])
def test_a_row_is_what_it_is_in_any_company(inner: int, columns: int) -> None:
    """Bit for bit: draws do not depend on how sequences are split into batches."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(rows, inner, generator=generator) for rows in (70, columns))
    whole = product(left, right)
    for size in (1, 2, 7, 64):
        parts = torch.cat([product(part, right) for part in left.split(size)])
        assert parts.equal(whole), size


def test_neighbours_that_lie_apart() -> None:
    left, right = torch.randn(6, 8)[::2, ::2], torch.randn(10, 8)[::2, ::2]
    torch.testing.assert_close(product(left, right), left @ right.T)


def test_no_rows() -> None:
    assert product(torch.zeros(0, 4), torch.zeros(5, 4)).shape == (0, 5)


def test_a_product_that_should_carry_a_gradient_is_refused() -> None:
    with pytest.raises(AssertionError):
        product(torch.zeros(2, 3, requires_grad=True), torch.zeros(4, 3))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_torchs(*, bias: bool) -> None:
    """Values and gradients, through any leading shape, each only where it is asked for."""
    torch.manual_seed(0)
    inputs, weight = torch.randn(2, 3, 7), torch.randn(5, 7)
    added, factors = torch.randn(5) if bias else None, torch.randn(2, 3, 5)
    held = [value for value in (inputs, weight, added) if value is not None]
    for asked in range(1, 2 ** len(held)):
        chosen = [value for place, value in enumerate(held) if asked >> place & 1]
        for value in held:
            value.requires_grad_(any(value is one for one in chosen))
        found = linear(inputs, weight, added)
        wanted = functional.linear(inputs, weight, added)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        gradients = torch.autograd.grad((found * factors).sum(), chosen)
        others = torch.autograd.grad((wanted * factors).sum(), chosen)
        for one, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_layer_is_torchs() -> None:
    torch.manual_seed(0)
    ours = Linear(4, 3)
    torch.manual_seed(0)
    theirs = nn.Linear(4, 3)
    assert ours.weight.equal(theirs.weight)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours(torch.ones(2, 4)), theirs(torch.ones(2, 4)))


def test_gradcheck() -> None:
    torch.manual_seed(0)
    given = [torch.randn(*shape, dtype=torch.float64) for shape in ((3, 4), (5, 4), (5,))]
    assert torch.autograd.gradcheck(linear, [value.requires_grad_() for value in given])
