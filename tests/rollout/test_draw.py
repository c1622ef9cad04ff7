"""Random numbers that depend on what is drawn alone."""

from collections.abc import Sequence
from typing import Self

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rubout.errors import UserError
from rubout.keys import Keys
from rubout.policy import Generation
from rubout.rollout import draw as module
from rubout.rollout.draw import draw, seed_of, step_by_step, uniforms
from rubout.types import ActionSpace, Legality


def splitmix(seed: int, sequence: int, step: int) -> float:
    """The definition, in Python's own integers."""
    mask = 2**64 - 1

    def mix(bits: int) -> int:
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)

    key = mix((seed + 0x9E3779B97F4A7C15 * (step + 1)) & mask)
    return float((mix((sequence * 0xD1342543DE82EF95 + key) & mask) >> 40) * 2.0**-24)


def test_seeds_are_pinned() -> None:
    """A published run is drawn again only as long as these stay."""
    assert seed_of(0, "rollout", 1) == 6166235045094533755
    assert seed_of("1", "a") != seed_of("1a") != seed_of("1", "b")
    assert 0 <= seed_of(2**80) < 2**63


def test_uniforms_are_pinned() -> None:
    numbers = uniforms(12345, torch.tensor([0, 1, 2, 2**40]), 0)
    assert numbers.dtype == torch.float32
    assert (numbers * 2**24).long().tolist() == [5013139, 3727001, 8015706, 12937186]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), sequence=st.integers(0, 2**40), step=st.integers(0, 10**6))
def test_uniforms_are_splitmix64(seed: int, sequence: int, step: int) -> None:
    assert float(uniforms(seed, torch.tensor([sequence]), step)) == splitmix(seed, sequence, step)


def chi_square(numbers: torch.Tensor, bins: int = 64) -> float:
    counts = torch.histc(numbers, bins, 0.0, 1.0)
    expected = len(numbers) / bins
    return float((counts - expected).square().sum() / expected)


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_uniformity(seed: int) -> None:
    """63 degrees of freedom: 103.4 is exceeded once in a thousand; the seeds are fixed."""
    sequences = torch.arange(20_000)
    over_sequences = uniforms(seed, sequences, 3)
    over_steps = torch.cat([uniforms(seed, sequences[:20], step) for step in range(1000)])
    for numbers in (over_sequences, over_steps):
        assert float(numbers.min()) >= 0
        assert float(numbers.max()) < 1
        assert 25 < chi_square(numbers) < 103.4
    # Pairs of neighbours fill the square as evenly.
    pairs = (over_sequences[:-1] * 8).floor() * 8 + (over_sequences[1:] * 8).floor()
    assert 25 < chi_square(pairs / 64 + 1 / 128) < 103.4


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 99), cut=st.integers(0, 10))
def test_batches_do_not_matter(seed: int, step: int, cut: int) -> None:
    sequences = torch.arange(10) + 7
    parts = [uniforms(seed, part, step) for part in (sequences[:cut], sequences[cut:])]
    assert torch.cat(parts).equal(uniforms(seed, sequences, step))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), steps=st.lists(st.integers(0, 10**6), min_size=1))
def test_steps_may_be_a_tensor(seed: int, steps: list[int]) -> None:
    sequences = torch.arange(len(steps)) * 3 + 1
    together = uniforms(seed, sequences, torch.tensor(steps))
    apart = [uniforms(seed, sequences[row], step) for row, step in enumerate(steps)]
    assert together.dtype == torch.float32
    assert together.tolist() == [float(number) for number in apart]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_steps_one_after_the_other(seed: int, rows: list[int]) -> None:
    sequences = torch.tensor(rows)
    for step, numbers in zip(range(40), step_by_step(seed, sequences), strict=False):
        assert numbers.equal(uniforms(seed, sequences, step))


SPACE = ActionSpace(130, 3, backspace=True, forbid_redo=True)


class Given(Generation):
    """Logits that are given."""

    def __init__(self, logits_BA: Tensor) -> None:
        self.logits_BA = logits_BA

    def logits(self, rows_M: Tensor | None = None) -> Tensor:
        return self.logits_BA[slice(None) if rows_M is None else rows_M].clone()

    def step(self, actions_B: Tensor, keys: Keys) -> None:
        raise NotImplementedError

    def take(self, rows_M: Tensor) -> Self:
        raise NotImplementedError

    def join(self, others: Sequence[Self]) -> Self:
        raise NotImplementedError


def states(count: int) -> Legality:
    """Three kinds: at the start, behind a deletion, on a full tape."""
    kinds = torch.tensor([[0, 0, 0, -1], [2, 0, 1, 3], [3, 1, 0, -1]])
    return SPACE.legality(*kinds[torch.arange(count) % 3].unbind(1))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("suppress", [[], [1, SPACE.backspace_id]])
def test_actions_are_drawn_by_their_probabilities(
    temperature: float, suppress: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain draw, some rows at a time; what is illegal or suppressed has no share."""
    monkeypatch.setattr(module, "_AT_ONCE", {"cpu": 7 * SPACE.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    count = 300
    generation = Given(
        3 * torch.randn(count, SPACE.size, generator=torch.Generator().manual_seed(0))
    )
    legal = SPACE.mask(states(count))
    legal[:, suppress] = False
    logits = generation.logits_BA.double().masked_fill(~legal, -torch.inf)
    expected = (logits / temperature).log_softmax(1)
    numbers = uniforms(3, torch.arange(count), 0)
    actions, log_probs = draw(
        SPACE, generation, None, states(count), numbers, temperature, suppress
    )
    assert bool(legal.gather(1, actions.unsqueeze(1)).all())
    chosen = expected.gather(1, actions.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_probs.double(), chosen, rtol=1e-6, atol=1e-6)
    cdf = expected.exp().cumsum(1)
    upto = cdf.gather(1, actions.unsqueeze(1)).squeeze(1)
    assert bool((upto - chosen.exp() - 1e-6 <= numbers).all())
    assert bool((numbers <= upto + 1e-6).all())
    assert log_probs.dtype == torch.float32


@pytest.mark.parametrize("level", [-1e4, -200.0, -80.0, 0.0, 80.0, 200.0, 1e4])
def test_however_large_the_logits(level: float) -> None:
    """Exponentials would be 0 or infinite; and rows beside it are drawn to the same bits."""
    count = 600
    logits = torch.randn(count, SPACE.size, generator=torch.Generator().manual_seed(0))
    numbers, legality = uniforms(3, torch.arange(count), 0), states(count)
    plain = draw(SPACE, Given(logits), None, legality, numbers)
    far = logits.double()
    far[2] += level
    actions, log_probs = draw(SPACE, Given(far), None, legality, numbers)
    assert actions.equal(plain[0])
    torch.testing.assert_close(log_probs, plain[1], rtol=0, atol=1e-5)
    single = logits.clone()
    single[2] += level
    actions, log_probs = draw(SPACE, Given(single), None, legality, numbers)
    others = torch.arange(count) != 2
    assert actions[others].equal(plain[0][others])
    assert log_probs[others].equal(plain[1][others])


def test_rows_that_are_asked_for() -> None:
    logits = torch.randn(9, SPACE.size, generator=torch.Generator().manual_seed(0))
    logits[4] += 500  # not to be had as an exponential
    numbers, legality = uniforms(3, torch.arange(9), 0), states(9)
    whole = draw(SPACE, Given(logits), None, legality, numbers)
    rows = torch.tensor([7, 4, 2])
    some = draw(SPACE, Given(logits), rows, legality[rows], numbers[rows])
    assert some[0].equal(whole[0][rows])
    assert some[1].equal(whole[1][rows])


def test_several_draws_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is what a copy of the row would draw, to the same bits."""
    monkeypatch.setattr(module, "_AT_ONCE", {"cpu": 7 * SPACE.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    count, copies = 30, 4
    logits = torch.randn(count, SPACE.size, generator=torch.Generator().manual_seed(0))
    logits[4] += 500  # not to be had as an exponential
    logits[5] -= 500
    numbers = uniforms(3, torch.arange(count * copies), 0).view(count, copies)
    found = draw(SPACE, Given(logits), None, states(count), numbers)
    rows = torch.arange(count).repeat_interleave(copies)
    expected = draw(SPACE, Given(logits[rows]), None, states(count)[rows], numbers.flatten())
    assert found[0].shape == found[1].shape == (count, copies)
    assert found[0].flatten().equal(expected[0])
    assert found[1].flatten().equal(expected[1])
    assert bool((found[0] != found[0][:, :1]).any()), "the draws of a row differ"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 70, 129])
def test_what_is_not_finite_is_refused(value: float, place: int) -> None:
    logits = torch.zeros(3, SPACE.size)
    logits[1, place] = value
    with pytest.raises(UserError, match="probabilities are not finite"):
        draw(SPACE, Given(logits), None, states(3), torch.zeros(3))


def test_where_nothing_can_be_drawn() -> None:
    logits = torch.full((1, SPACE.size), -torch.inf)
    with pytest.raises(UserError, match="probabilities are not finite"):
        draw(SPACE, Given(logits), None, states(1), torch.zeros(1))
