"""An LSTM over trees is the plain recurrence, node by node, however the trees are cut."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.recurrent import Recurrent, blank, cut, extend, over
from rubout.tape import Tape, replay, with_ends
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(3, 12, backspace=True, max_actions=40)
TYPE, RUB, END = 0, SPACE.backspace_id, SPACE.eos_id
WIDE = 10**6


def logs_of(actions: list[list[int]], prompts: list[list[int]] | None = None) -> Trajectories:
    typed = Sequences.of(actions)
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.zeros(len(typed), dtype=torch.bool),
        policy_version_B=torch.zeros_like(typed.lengths_B),
        prompts=None if prompts is None else Sequences.of(prompts),
    )


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """Rows with and without backspaces, prompts, ends; also what is not legal."""
    token = st.integers(0, SPACE.num_tokens - 1)
    plain = st.lists(token, min_size=1, max_size=12)
    rubbed = st.lists(token | st.just(RUB), min_size=1, max_size=24)
    row = st.tuples(st.lists(token, max_size=3), plain | rubbed, st.sampled_from([[], [END]]))
    rows = draw(st.lists(row, min_size=1, max_size=5))
    logs = logs_of([typed + end for _, typed, end in rows], [prompt for prompt, _, _ in rows])
    return with_ends(SPACE, logs, replay(SPACE, logs))


def is_real(tape: Tape) -> Tensor:
    real_BN = tape.depths_BN > 0
    real_BN[:, 0] = True
    return real_BN


def literal(tape: Tape, inputs_BND: Tensor, weights: list[Tensor]) -> Tensor:
    """h of every node [B, N, H], one node after the other, from the equations; 0 on padding."""
    w_input, w_hidden, b_input, b_hidden = weights
    nothing = w_hidden.new_zeros(w_hidden.shape[1])
    rows = []
    for row, real_N in enumerate(is_real(tape).tolist()):
        states: list[tuple[Tensor, Tensor]] = []
        for node, real in enumerate(real_N):
            h, c = states[int(tape.parents_BN[row, node])] if node else (nothing, nothing)
            gates = w_input @ inputs_BND[row, node] + b_input + w_hidden @ h + b_hidden
            i, f, g, o = gates.view(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            states.append((o.sigmoid() * c.tanh(), c) if real else (nothing, nothing))
        rows.append(torch.stack([h for h, _ in states]))
    return torch.stack(rows)


def layer(num_inputs: int, hidden: int, seed: int) -> Recurrent:
    torch.manual_seed(seed)
    made = Recurrent(num_inputs, hidden).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.8)
    return made


def assert_same(values: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(tape=tapes(), nodes_per_call=st.sampled_from([0, 1, 3, 8, WIDE]), seed=st.integers(0, 9))
def test_a_layer_is_the_recurrence(tape: Tape, nodes_per_call: int, seed: int) -> None:
    made = layer(2, 3, seed)
    inputs = torch.randn(*tape.tokens_BN.shape, 2, dtype=torch.float64, requires_grad=True)
    weights = list(made.parameters())
    seen = torch.randn(*tape.tokens_BN.shape, 3, dtype=torch.float64)
    results = []
    for hidden in (
        over(cut(tape, nodes_per_call), inputs, weights),
        literal(tape, inputs, weights),
    ):
        gradients = torch.autograd.grad((hidden * seen).sum(), [inputs, *weights])
        results.append((hidden, *gradients))
    assert_same(*results)


@settings(max_examples=20, deadline=None)
@given(tape=tapes(), seed=st.integers(0, 9))
def test_whole_tapes_whether_linear_or_not(tape: Tape, seed: int) -> None:
    made = layer(2, 3, seed)
    inputs = torch.randn(*tape.tokens_BN.shape, 2, dtype=torch.float64)
    real = is_real(tape)
    wanted = literal(tape, inputs, list(made.parameters()))
    torch.testing.assert_close(made.over(tape, inputs)[real], wanted[real], rtol=1e-10, atol=1e-10)


class Falls(nn.Module):
    """Dropout that drops the same units of the same nodes each time, others at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, values_BND: Tensor) -> Tensor:
        self.calls += 1
        generator = torch.Generator().manual_seed(self.calls)
        kept = torch.rand(values_BND.shape, generator=generator) < 0.6
        return values_BND * kept / 0.6


@settings(max_examples=20, deadline=None)
@given(tape=tapes(), layers=st.integers(1, 3), seed=st.integers(0, 9))
def test_layers_with_dropout_between(tape: Tape, layers: int, seed: int) -> None:
    torch.manual_seed(seed)
    policy = LSTMPolicy(SPACE, LSTMConfig(layers, embedding=2, hidden=3, init_std=0.8)).double()
    trained = [*policy.embedding.parameters(), *policy.lstm.parameters()]
    trained = [parameter for parameter in trained if parameter.requires_grad]
    drop = Falls()
    wanted = drop(policy.embedding(tape.tokens_BN))
    for weights in policy.lstm.all_weights:
        wanted = drop(literal(tape, wanted, weights))
    policy.dropout = Falls()  # type: ignore[assignment]
    found = policy.encode(replace(tape, linear=False))
    seen = torch.randn(found.shape, dtype=torch.float64)
    results = [
        (hidden, *torch.autograd.grad((hidden * seen).sum(), trained)) for hidden in (found, wanted)
    ]
    assert_same(*results)


def test_single_precision_has_a_kernel_of_its_own() -> None:
    rows = [[TYPE, 1, RUB, 2, 2, RUB, RUB, 1, 2, END], [1, 2, TYPE], [2, RUB, 1, RUB, TYPE, 1]]
    bands = cut(replay(SPACE, logs_of(rows)), 1)
    assert len(bands.shapes) > 1
    made = layer(4, 8, 0)
    inputs = torch.randn(*bands.places_BN.shape, 4, dtype=torch.float64)
    results = []
    for dtype in (torch.float32, torch.float64):
        made, read = made.to(dtype), inputs.to(dtype).requires_grad_()
        hidden = over(bands, read, list(made.parameters()))
        gradients = torch.autograd.grad(hidden.square().sum(), [read, *made.parameters()])
        results.append([value.double() for value in (hidden, *gradients)])
    for single, double in zip(*results, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-5)


def test_step_by_step_it_is_the_same_layer() -> None:
    made = layer(2, 3, 0)
    tape = replay(SPACE, logs_of([[1, 2, TYPE, 2]]))
    inputs = torch.randn(1, 5, 2, dtype=torch.float64)
    (weights,) = made.all_weights
    whole = made.over(tape, inputs)
    for slots, rows in [(1, None), (1, [0]), (6, None), (6, [0])]:
        memory = blank("a", 1, slots, weights)
        rows_M = None if rows is None else torch.tensor(rows)
        steps = [
            extend(memory, "a", rows_M, inputs[:, step], torch.tensor([step]), weights)
            for step in range(5)
        ]
        torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=1e-10, atol=1e-10)


def test_a_step_reads_and_writes_its_rows_alone() -> None:
    """From the state one depth above, or from the only one that is kept."""
    made, inputs = layer(2, 3, 0), torch.randn(2, 2, dtype=torch.float64)
    (weights,) = made.all_weights
    for slots in (1, 6):
        memory, alone = blank("a", 4, slots, weights), blank("a", 2, slots, weights)
        for depth in range(3):
            depths = torch.full((2,), depth)
            found = extend(memory, "a", torch.tensor([3, 1]), inputs, depths, weights)
            expected = extend(alone, "a", None, inputs, depths, weights)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        for name, states in memory.items():
            torch.testing.assert_close(states[[3, 1]], alone[name], rtol=1e-12, atol=1e-12)
            assert not states[[0, 2]].any()


@pytest.mark.parametrize(("num_inputs", "hidden"), [(340, 301), (639, 1), (8, 8)])
def test_a_layer_steps_alike_in_any_company(num_inputs: int, hidden: int) -> None:
    """Wide or not it is the recurrence, and a row's bits are a function of the row."""
    torch.manual_seed(0)
    made = Recurrent(num_inputs, hidden)
    nn.init.normal_(made.bias_hh_l0)
    (weights,) = made.all_weights
    inputs = torch.randn(3, 67, num_inputs)
    tape = replay(ActionSpace(3, 3), logs_of([[0, 1]] * 67))
    wanted = literal(tape, inputs.transpose(0, 1).double(), [each.double() for each in weights])

    def typed(rows: slice, slots: int) -> Tensor:
        read = inputs[:, rows]
        memory = blank("a", read.shape[1], slots, weights)
        depths = (torch.full((read.shape[1],), depth) for depth in range(3))
        steps = [
            extend(memory, "a", None, each, depths_M, weights)
            for each, depths_M in zip(read, depths, strict=True)
        ]
        return torch.stack(steps, dim=1)

    with torch.no_grad():
        whole = typed(slice(None), 1)
        torch.testing.assert_close(whole.double(), wanted, rtol=1e-5, atol=1e-6)
        for size, slots in [(67, 4), (1, 1), (16, 4), (33, 1)]:
            parts = [typed(slice(first, first + size), slots) for first in range(0, 67, size)]
            assert torch.cat(parts).equal(whole), (size, slots)


def test_gradients_of_a_small_tree() -> None:
    logs = logs_of([[TYPE, RUB, 1, 2, RUB, RUB, 2, TYPE], [1, 2, TYPE]])
    tape = replay(SPACE, logs)
    made = layer(2, 2, 0)
    inputs = torch.randn(*tape.tokens_BN.shape, 2, dtype=torch.float64, requires_grad=True)
    bands = cut(tape, 1)
    assert len(bands.shapes) > 1

    def hidden(inputs_BND: Tensor, *weights: Tensor) -> Tensor:
        return over(bands, inputs_BND, weights)

    assert torch.autograd.gradcheck(hidden, (inputs, *made.parameters()))


@settings(max_examples=30, deadline=None)
@given(tape=tapes(), nodes_per_call=st.integers(0, 30))
def test_every_path_goes_on_from_its_parent(tape: Tape, nodes_per_call: int) -> None:
    bands, batch = cut(tape, nodes_per_call), len(tape.tokens_BN)
    real = is_real(tape)
    numbers = torch.arange(real.numel()).view_as(real)
    assert bands.nodes_M[bands.places_BN[real]].equal(numbers[real])
    assert (bands.places_BN[~real] == len(bands.nodes_M)).all()
    parents = (tape.parents_BN + numbers[:, :1]).flatten()
    parts = bands.nodes_M.split([depths * paths for depths, paths in bands.shapes])
    bottom = torch.arange(bands.shapes[0][1])
    for part, shape, above in zip(parts, bands.shapes, bands.above, strict=True):
        nodes = part.view(shape)
        for upper, lower in pairwise([bottom[above], *nodes]):
            goes_on, waits = parents[lower] == upper, lower == upper
            is_start = tape.depths_BN.flatten()[lower] == 0
            assert (goes_on | waits | is_start).all()
        bottom = nodes[-1]
    assert bands.shapes[0][1] >= batch


@settings(max_examples=30, deadline=None)
@given(tape=tapes())
def test_the_price_of_a_call_decides_on_the_width(tape: Tape) -> None:
    assert len(cut(tape, 0).nodes_M) == is_real(tape).sum(), "nothing is computed twice"
    assert len(cut(tape, WIDE).shapes) == 1


def test_rows_do_not_meet() -> None:
    rows = [[TYPE, 1, RUB, 2, 2, 1, END], [1, 2, TYPE], [2, RUB, 1, RUB, TYPE, RUB], [1]]
    policy = LSTMPolicy(SPACE, LSTMConfig(2, embedding=2, hidden=3, init_std=0.8)).double()
    tape = replay(SPACE, logs_of(rows))
    together = policy.encode(tape)
    for row, actions in enumerate(rows):
        alone = replay(SPACE, logs_of([actions]))
        hidden = policy.encode(alone)[0]
        torch.testing.assert_close(together[row, : len(hidden)], hidden, rtol=1e-12, atol=1e-12)


def test_the_second_bias_learns_nothing_and_the_same_comes_again() -> None:
    policy = LSTMPolicy(SPACE, LSTMConfig(2, embedding=4, hidden=8))
    tape = replay(SPACE, logs_of([[TYPE, 1, RUB, 2, RUB, 2], [1, 2, TYPE]]))
    gradients = []
    for _ in range(2):
        policy.zero_grad()
        hidden = policy.encode(tape)
        hidden.square().sum().backward()
        gradients.append([p.grad for p in policy.lstm.parameters() if p.grad is not None])
    assert policy.lstm.bias_hh_l0.grad is None
    assert policy.lstm.bias_hh_l1.grad is None
    assert len(gradients[0]) == 6
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(policy.encode(tape), hidden, rtol=1e-5, atol=1e-6)
