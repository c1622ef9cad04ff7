"""The Frechet distance against Gaussians whose distance is known; MAUVE as its package has it."""

import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.errors import UserError
from rubout.evaluation.embedding import frechet_distance, mauve


def random_features(count: int, seed: int, width: int = 4) -> Tensor:
    """Correlated, of different spreads."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix


def axes(spreads: list[float], mean: float = 0.0) -> Tensor:
    """A point on either side along each axis, so that standard deviations are exactly these."""
    half = torch.diag(torch.tensor(spreads, dtype=torch.float64))
    count = 2 * len(spreads)
    return torch.cat([half, -half]) * math.sqrt((count - 1) / 2) + mean


def rotation(width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(noise).Q


def as_defined(one: Tensor, other: Tensor) -> float:
    """With symmetric square roots: tr((S1^(1/2) S2 S1^(1/2))^(1/2))."""
    covariances = [torch.atleast_2d(torch.cov(some.T)) for some in (one, other)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    traces = covariances[0].trace() + covariances[1].trace()
    return float((one.mean(0) - other.mean(0)).square().sum() + traces - 2 * inner)


def test_gaussians_along_the_axes() -> None:
    """|m1 - m2|^2 and the squared differences of the standard deviations."""
    one, other = axes([1, 2, 3]), axes([2, 2, 5], mean=0.5)
    assert torch.cov(one.T).diagonal().tolist() == pytest.approx([1, 4, 9])
    assert frechet_distance(one, other) == pytest.approx(3 * 0.25 + 1 + 0 + 4, rel=1e-12)


def test_one_dimension() -> None:
    one = torch.tensor([[0.0], [2.0]])  # mean 1, standard deviation sqrt 2
    other = torch.tensor([[0.0], [1.0], [2.0]])  # mean 1, standard deviation 1
    assert frechet_distance(one, other) == pytest.approx((math.sqrt(2) - 1) ** 2, rel=1e-12)


def test_covariances_that_do_not_commute() -> None:
    """In the plane: tr (S1 S2)^(1/2) = sqrt(tr S1 S2 + 2 sqrt(det S1 S2))."""
    one, other = axes([3, 1]), axes([1, 2]) @ rotation(2, 0)
    product = torch.cov(one.T) @ torch.cov(other.T)
    root = torch.sqrt(product.trace() + 2 * torch.linalg.det(product).sqrt())
    expected = float(9 + 1 + 1 + 4 - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(8, 40))
def test_as_defined_and_invariant(seed: int, width: int, count: int) -> None:
    """No less between the two than either way; unchanged by what moves both alike."""
    one = random_features(count, seed, width)
    other = random_features(count + 3, seed + 1, width) + 0.3
    found = frechet_distance(one, other)
    close = pytest.approx(found, rel=1e-9, abs=1e-9)
    assert as_defined(one, other) == pytest.approx(found, rel=1e-6, abs=1e-6)
    assert frechet_distance(other, one) == close
    turn = rotation(width, seed)
    assert frechet_distance(one @ turn + 7, other @ turn + 7) == close
    assert frechet_distance(one[torch.randperm(count)], other) == close
    assert frechet_distance(one * 3, other * 3) == pytest.approx(9 * found, rel=1e-9, abs=1e-9)


def test_nothing_between_a_set_and_itself() -> None:
    """Also where features are linear in each other, so that covariances have no full rank."""
    one = random_features(50, 0)
    flat = torch.cat([one, one[:, :2] * 2], dim=1)
    for same in (one, flat, torch.ones(9, 3)):
        found = frechet_distance(same, same.clone())
        assert 0 <= found < 1e-10
    moved = frechet_distance(flat, flat + 1)
    assert moved == pytest.approx(6, rel=1e-9)


def test_float32_is_not_enough() -> None:
    """Features are taken in float64, however they come: near a mean of 1000 too."""
    one, other = axes([1, 2], 1000.0).float(), axes([1, 3], 1000.0).float()
    assert frechet_distance(one, other) == pytest.approx(1, rel=1e-3)


def test_the_bias_of_few_sequences() -> None:
    """Of one distribution, four times the sequences make a quarter of the distance."""
    generator = torch.Generator().manual_seed(0)

    def between(count: int) -> float:
        pairs = torch.randn(60, 2, count, 5, generator=generator, dtype=torch.float64)
        return sum(frechet_distance(one, other) for one, other in pairs) / 60

    assert 3.2 < between(100) / between(400) < 4.8


def test_too_few_sequences() -> None:
    one = random_features(5, 0)
    assert frechet_distance(one, one + 1) == pytest.approx(4, rel=1e-9)
    for few, many in ((one[:4], one), (one, one[:4])):
        with pytest.raises(UserError, match="more than 4 sequences on either side, not 4"):
            frechet_distance(few, many)
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(one, one[:, :3])


def test_mauve_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(UserError, match=r"\(mauve\): pip install mauve-text"):
        mauve(random_features(9, 0), random_features(9, 1))


def test_mauve_is_asked_as_its_authors_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """p is real, q generated; what the package prints does not reach the standard output."""
    asked = {}

    def compute_mauve(**arguments: object) -> SimpleNamespace:
        asked.update(arguments)
        print("clusters")
        return SimpleNamespace(mauve=0.25)

    package = ModuleType("mauve")
    package.compute_mauve = compute_mauve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mauve", package)
    generated, real = random_features(9, 0).float(), random_features(7, 1)
    assert mauve(generated, real, seed=3) == 0.25
    assert asked["p_features"].tolist() == real.tolist()  # type: ignore[attr-defined]
    assert asked["q_features"].tolist() == generated.tolist()  # type: ignore[attr-defined]
    assert asked["seed"] == 3
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="one width"):
        mauve(generated, real[:, :2])


def test_mauve_of_the_same_and_of_others(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mauve", reason="mauve-text is not installed")
    real = random_features(400, 0)
    assert mauve(real, real.clone()) == pytest.approx(1, abs=1e-6)
    far = mauve(-real.abs() - 9, real.abs() + 9)
    near = mauve(real + 0.5, real)
    assert far < 0.05 < near < 1
    assert mauve(real + 0.5, real) == near
    assert capfd.readouterr().out == ""
