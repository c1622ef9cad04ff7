"""Penalties: what a divergence must be for the loss to be what it says."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from learners.divergences import DIVERGENCES, find
from learners.sequence_match import SequenceMatchConfig
from rubout.divergence import Divergence
from rubout.errors import UserError

NAMES = list(DIVERGENCES)

# phi'(r) = model / data at the optimum, of the divergences that penalise data alone.
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "chi2": lambda r: 1 - r / 2,
    "chi2-mixture": lambda r: 1 - r / 2,
    "reverse-kl": lambda r: (-r).exp(),
    "forward-kl": lambda r: 1 / r,
    "jensen-shannon": lambda r: (-r).exp() / (2 - (-r).exp()),
    "hellinger": lambda r: 1 / (1 + r).square(),
}


def grid(name: str, *, below: float = 0.0) -> Tensor:
    """Rewards from the edge of a divergence, or so far below it, to 6."""
    lowest = max(DIVERGENCES[name].lowest, -5.0)
    return torch.linspace(lowest - below, 6, 401, dtype=torch.float64)


def slopes(divergence: Divergence, rewards: Tensor) -> Tensor:
    rewards = rewards.clone().requires_grad_()
    (found,) = torch.autograd.grad(divergence(rewards).sum(), rewards)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_table_names_every_divergence(name: str) -> None:
    assert name in SLOPES
    assert find(name) is DIVERGENCES[name]
    assert DIVERGENCES[name].mixture == name.endswith("-mixture")
    assert f"{name}, " in inspect.getsource(SequenceMatchConfig), "the option's help names it"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_penalised_at_the_neutral_reward(name: str) -> None:
    divergence = DIVERGENCES[name]
    neutral = torch.tensor([divergence.neutral], dtype=torch.float64)
    assert divergence.neutral > divergence.lowest
    assert float(divergence(neutral)) == pytest.approx(0, abs=1e-12)
    assert float(slopes(divergence, neutral)) == pytest.approx(0, abs=1e-12)
    around = neutral + torch.tensor([-0.01, 0.01], dtype=torch.float64)
    assert bool((divergence(around) > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_is_one_less_that_of_phi(name: str) -> None:
    """g = r - phi(r) and a constant."""
    rewards = grid(name)
    expected = 1 - SLOPES[name](rewards)
    torch.testing.assert_close(
        slopes(DIVERGENCES[name], rewards), expected, rtol=1e-9, atol=1e-9, equal_nan=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_penalty_is_convex_and_not_negative(name: str) -> None:
    divergence = DIVERGENCES[name]
    rewards = grid(name, below=20.0)
    found = divergence(rewards)
    assert bool((found >= 0).all())
    assert bool((slopes(divergence, rewards).diff() >= -1e-12).all())
    float32 = divergence(rewards.float())
    assert float32.dtype == torch.float32
    assert bool(float32.isfinite().all())
    torch.testing.assert_close(float32.double(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if DIVERGENCES[name].lowest > -math.inf])
def test_it_goes_on_as_a_straight_line(name: str) -> None:
    divergence = DIVERGENCES[name]
    edge = torch.tensor(divergence.lowest, dtype=torch.float64)
    beside = divergence(edge + torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64))
    torch.testing.assert_close(beside, divergence.penalty(edge).expand(3), rtol=0, atol=1e-6)
    below = edge - torch.tensor([0.5, 3.0, 1000.0], dtype=torch.float64)
    slope = 1 - float(SLOPES[name](edge))
    found = slopes(divergence, below)
    assert found.tolist() == pytest.approx([slope] * 3, rel=1e-9)
    line = float(divergence.penalty(edge)) + slope * (below - edge)
    torch.testing.assert_close(divergence(below), line, rtol=1e-9, atol=0)
    # Just above the edge the slope has not jumped.
    assert float(slopes(divergence, edge + 1e-7)) == pytest.approx(slope, rel=1e-4)


def test_without_an_edge_it_is_the_penalty_itself() -> None:
    assert DIVERGENCES["chi2"](torch.tensor([-1000.0, 2.0])).tolist() == [250_000.0, 1.0]


def test_an_unknown_name() -> None:
    with pytest.raises(UserError) as caught:
        find("chi2-mixtur")
    assert str(caught.value) == (
        "unknown learner.divergence 'chi2-mixtur' (did you mean chi2-mixture?); "
        "your own is named as module:name"
    )


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module of one's own."""
    (tmp_path / "own_divergence.py").write_text(
        "from rubout.divergence import Divergence\n"
        "quartic = Divergence(lambda r: r**4, lowest=-2.0, mixture=True)\n"
        "square = lambda r: r**2\n"
    )
    (tmp_path / "broken_divergence.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "own_divergence"
    sys.modules.pop("own_divergence", None)


def test_a_divergence_of_ones_own(plugin) -> None:
    found = find(f"{plugin}:quartic")
    assert found.mixture
    assert found(torch.tensor([1.0, -3.0])).tolist() == [1.0, 16.0 + 32.0]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("{0}:square", ["not a rubout.divergence.Divergence"]),
        ("{0}:cubic", ["has no attribute 'cubic'"]),
        ("no_such_module:mine", ["No module named 'no_such_module'"]),
        ("broken_divergence:mine", ["RuntimeError: two"]),
        (":mine", ["ValueError"]),
    ],
)
def test_what_is_no_divergence(plugin, name: str, parts: list[str]) -> None:
    name = name.format(plugin)
    with pytest.raises(UserError) as caught:
        find(name)
    line = str(caught.value)
    assert line.startswith(f"learner.divergence {name}: ")
    assert "\n" not in line
    for part in parts:
        assert part in line
