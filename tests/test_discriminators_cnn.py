"""The CNN that judges: by loops, by look-up, by fast products, and in narrow ones."""

from __future__ import annotations

from copy import deepcopy
from itertools import groupby

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rubout.discriminators import FILTERS, DiscriminatorConfig, SequenceCNN, build
from rubout.discriminators import look_up as module
from rubout.discriminators.look_up import Beginnings
from rubout.types import Sequences

WORDS, LENGTH = 11, 6
LENGTHS = [0, 1, 3, 5, 6, 6]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
PRECISIONS = ("float32", "bfloat16")


def network(**options: object) -> SequenceCNN:
    torch.manual_seed(0)
    made = build(WORDS, LENGTH, DiscriminatorConfig(embedding=8, **options)).eval()  # type: ignore[arg-type]
    assert isinstance(made, SequenceCNN)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def sequences(seed: int = 1) -> Sequences:
    """Of all lengths, none at all among them."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BL = torch.randint(0, WORDS, (len(LENGTHS), LENGTH), generator=generator)
    made = Sequences(tokens_BL, torch.tensor(LENGTHS))
    return Sequences(tokens_BL.masked_fill(~made.mask_BL, 0), made.lengths_B)


def literal_features(judge: SequenceCNN, tokens: list[int]) -> Tensor:
    """Every window of the padded sequence, filter by filter; then the highway layer."""
    padded = [*tokens, *[WORDS] * (LENGTH - len(tokens))]
    vectors = [judge.embedding.weight[token].tolist() for token in padded]
    maxima = []
    for layer in judge.convolutions:
        (width,) = layer.kernel_size
        for weight, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True):
            windows = []
            for first in range(LENGTH - width + 1):
                total = bias
                for place in range(width):
                    vector = vectors[first + place]
                    total += sum(w[place] * x for w, x in zip(weight, vector, strict=True))
                windows.append(total)
            maxima.append(max(0.0, max(windows)))
    y = torch.tensor(maxima, dtype=torch.float64)
    gate = torch.sigmoid(judge.gate.weight.double() @ y + judge.gate.bias.double())
    new = torch.relu(judge.transform.weight.double() @ y + judge.transform.bias.double())
    return gate * new + (1 - gate) * y


@pytest.mark.parametrize("grad", [False, True])
def test_the_cnn_is_a_loop_over_windows(grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "small", ((1, 3), (2, 4), (4, 5), (6, 2), (7, 9)))
    judge, given = network(), sequences()
    assert judge.num_features == 14
    with torch.set_grad_enabled(grad):
        assert judge.look_up.pays(given.tokens_BL) is not grad
        found = judge.features(given).detach()
    for row, tokens in enumerate(given.lists()):
        expected = literal_features(judge, tokens).float().detach()
        torch.testing.assert_close(found[row], expected, **CLOSE)


def both_ways(judge: SequenceCNN, given: Sequences) -> None:
    """By look-up and by convolution."""
    convolved = judge.features(given).detach()
    with torch.no_grad():
        assert judge.look_up.pays(given.tokens_BL)
        looked_up = judge.features(given)
    torch.testing.assert_close(looked_up, convolved, rtol=1e-5, atol=1e-5)


def many(seed: int = 1) -> Sequences:
    return Sequences.cat([sequences(seed), sequences(seed + 1)])


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.002),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tables_follow_what_an_optimiser_does(optimizer: str) -> None:
    judge, given = network(), many()
    stepper = OPTIMIZERS[optimizer](judge.parameters())
    for _ in range(3):
        both_ways(judge, given)
        with torch.no_grad():
            before = judge(given)
        stepper.zero_grad()
        judge(given).sum().backward()
        stepper.step()
        with torch.no_grad():
            assert (judge(given) - before).abs().min() > 1e-3
    both_ways(judge, given)


def test_tables_follow_what_is_loaded() -> None:
    judge, given = network(), many()
    both_ways(judge, given)
    torch.manual_seed(7)
    other = build(WORDS, LENGTH, DiscriminatorConfig(embedding=8)).eval()
    judge.load_state_dict(other.state_dict())
    with torch.no_grad():
        assert judge(given).equal(other(given))
    both_ways(judge, given)


@pytest.mark.parametrize("changed", ["embedding", "convolutions.0", "convolutions.1"])
def test_tables_follow_any_weight_and_are_nobody_elses(changed: str) -> None:
    judge, given = network(), many()
    both_ways(judge, given)
    copied = deepcopy(judge)
    with torch.no_grad():
        judged = judge(given)
        copied.get_submodule(changed).weight.mul_(-1.5)
        assert not copied(given).allclose(judged)
        assert judge(given).equal(judged)
    both_ways(copied, given)
    both_ways(judge, given)


def test_the_same_tables_serve_until_a_weight_changes() -> None:
    judge, given = network(), many()
    with torch.no_grad():
        judge(given)
        held = judge.look_up.tables()[0]
        judge.convolutions[0].bias.add_(1.0)  # no part of them
        assert judge.look_up.tables()[0] is held
        judge.convolutions[0].weight.add_(1.0)
        assert judge.look_up.tables()[0] is not held
    both_ways(judge, given)


def test_when_tables_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = network()
    words = WORDS + 1
    enough, too_few = torch.zeros(4, LENGTH), torch.zeros(1, 2 * words - 1)
    assert enough.numel() == 2 * words
    assert not judge.look_up.pays(enough), "there is a gradient"
    with torch.no_grad():
        assert judge.look_up.pays(enough)
        assert not judge.look_up.pays(too_few)
        assert not judge.look_up.pays(enough.to("meta")), "not on a CPU"
        size = words * (2 * 100 + 3 * 200)
        monkeypatch.setattr(module, "_LARGEST_TABLES", size)
        assert judge.look_up.pays(enough)
        monkeypatch.setattr(module, "_LARGEST_TABLES", size - 1)
        assert not judge.look_up.pays(enough)


# Rows that begin alike, side by side and apart; the last word is the padding.
row = st.lists(st.integers(0, 2) | st.integers(0, WORDS), min_size=LENGTH, max_size=LENGTH)
copies = st.tuples(row, st.integers(0, LENGTH), st.lists(row, min_size=1, max_size=4))
batches = st.lists(copies, min_size=1, max_size=5).map(
    lambda drawn_copies: torch.tensor(
        [base[:kept] + rest[kept:] for base, kept, rests in drawn_copies for rest in rests]
    )
)


def convolved(judge: SequenceCNN, tokens_BL: Tensor) -> Tensor:
    """The largest output of each filter, by torch's convolutions."""
    embedded_BEL = judge.embedding(tokens_BL).transpose(1, 2)
    maxima = [layer(embedded_BEL).amax(dim=2) for layer in judge.convolutions]
    return torch.cat(maxima, dim=1).detach()


@pytest.mark.parametrize("filters", [((2, 3), (3, 5)), ((1, 3), (2, 4), (5, 2), (6, 3))])
@settings(max_examples=60, deadline=None)
@drawn(tokens_BL=batches)
def test_look_up_is_convolution_and_company_changes_no_bit(
    filters: tuple[tuple[int, int], ...], tokens_BL: Tensor
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILTERS, "small", filters)
        judge = network()
    with torch.no_grad():
        found = judge.look_up(tokens_BL)
        alone = torch.cat([judge.look_up(one_1L) for one_1L in tokens_BL.split(1)])
        turned = judge.look_up(tokens_BL.flip(0)).flip(0)
    torch.testing.assert_close(found, convolved(judge, tokens_BL), **CLOSE)
    assert found.equal(alone)
    assert found.equal(turned)


@settings(max_examples=100, deadline=None)
@drawn(tokens_BL=batches)
def test_each_beginning_is_held_once_where_it_stands_in_adjacent_rows(tokens_BL: Tensor) -> None:
    found = Beginnings.of(tokens_BL)
    rows = tokens_BL.tolist()
    for place, (tokens_NL, parents_N) in enumerate(zip(found.tokens, found.parents, strict=True)):
        expected = [kept for kept, _ in groupby(row[: place + 1] for row in rows)]
        held = [row[: place + 1] for row in tokens_NL.tolist()]
        assert held == expected
        if place:
            above = [found.tokens[place - 1][parent, :place].tolist() for parent in parents_N]
            assert above == [kept[:-1] for kept in expected]
    assert found.tokens[-1][found.last_B].equal(tokens_BL)


@pytest.mark.parametrize("filters", ["small", "official"])
@pytest.mark.parametrize("count", [2, 60, 500], ids=["convolved", "looked up", "packed"])
def test_judging_is_the_plain_module_to_rounding(filters: str, count: int) -> None:
    torch.manual_seed(0)
    judge = build(50, 20, DiscriminatorConfig(filters=filters)).eval()  # type: ignore[arg-type]
    assert isinstance(judge, SequenceCNN)
    tokens_BL = torch.randint(0, 50, (count, 20))
    given = Sequences(tokens_BL, torch.full((count,), 20))
    y = torch.relu(convolved(judge, tokens_BL))
    gate = torch.sigmoid(functional.linear(y, judge.gate.weight, judge.gate.bias))
    changed = torch.relu(functional.linear(y, judge.transform.weight, judge.transform.bias))
    expected = judge.out(gate * changed + (1 - gate) * y).squeeze(1).detach()
    torch.testing.assert_close(judge(given).detach(), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert judge.look_up.pays(tokens_BL) is (count > 2)
        torch.testing.assert_close(judge(given), expected, rtol=1e-5, atol=1e-5)


def rounded(layer: torch.nn.Linear, y_BF: Tensor) -> tuple[Tensor, Tensor]:
    """The layer of operands in bfloat16, and the most that rounding its result to it changes."""
    y, weight, bias = (one.bfloat16().float() for one in (y_BF, layer.weight, layer.bias))
    sums = functional.linear(y, weight, bias)
    return sums, 2.0**-8 * sums.abs() + 1e-5


@pytest.mark.parametrize("filters", ["small", "official"])
def test_narrow_products_are_those_of_rounded_operands(filters: str) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(filters=filters, precision="bfloat16")  # type: ignore[arg-type]
    judge = build(50, 20, config).eval()
    assert isinstance(judge, SequenceCNN)
    tokens_BL = torch.randint(0, 50, (30, 20))
    given = Sequences(tokens_BL, torch.full((30,), 20))
    with torch.no_grad():
        y = torch.relu(judge.look_up(tokens_BL))
        narrow = judge.features(given)
        judge.precision = "float32"
        wide = judge.features(given)
        (gates, gate_error), (sums, error) = rounded(judge.gate, y), rounded(judge.transform, y)
    assert narrow.dtype == torch.float32
    changed = torch.relu(sums)
    expected = y + torch.sigmoid(gates) * (changed - y)
    # The gate's slope is at most 1/4, the gate itself at most 1.
    assert ((narrow - expected).abs() <= gate_error / 4 * (changed - y).abs() + error).all()
    # Far more than float32's own rounding: the option acts.
    assert float((narrow - wide).abs().max()) > 1e-3


def test_learning_is_the_same_in_either_precision() -> None:
    gradients = []
    for precision in PRECISIONS:
        judge, given = network(precision=precision), many()
        judge(given).sum().backward()
        gradients.append([parameter.grad for parameter in judge.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert other is not None
        assert one.equal(other)
        assert one.abs().max() > 0
