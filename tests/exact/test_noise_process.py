"""What slips do to an expert's data, exactly: every draw there could be, with its probability."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
import torch

from rubout.noise import Blame, Noise, inject
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

V, RATE = 4, 0.1
P = [0.6, 0.3, 0.1, 0.0]  # of the first token; those after it are alike

Counts = dict[tuple[int, ...], dict[int, float]]


def visits(length: int, blame: Blame) -> Counts:
    """Expected number of times that each state shows each label, in texts of so many tokens.

    Every action may slip or not, and slip as any token: `inject` is given all of it.
    """
    space = ActionSpace(V, length, backspace=True, max_actions=50)
    texts = list(product(range(V), repeat=length))
    one = [(0, 0.5, 1 - RATE)] + [(u, 0.0, RATE / V) for u in range(V)]  # token, chance, weight
    draws = list(product(one, repeat=length + 1))
    data = written(space, Sequences.of([text for text in texts for _ in draws]))
    chances_BT = torch.tensor([[chance for _, chance, _ in row] for row in draws])
    slips_BT = torch.tensor([[token for token, _, _ in row] for row in draws])
    found = inject(
        space,
        data,
        Noise(RATE, blame=blame),
        chances_BT.repeat(len(texts), 1),
        slips_BT.repeat(len(texts), 1),
    )
    odds_D = torch.tensor([[w for _, _, w in row] for row in draws], dtype=torch.float64).prod(1)
    odds_X = torch.tensor([P[text[0]] * V ** (1 - length) for text in texts], dtype=torch.float64)
    odds = torch.outer(odds_X, odds_D).flatten().tolist()
    assert sum(odds) == pytest.approx(1, abs=1e-12)

    counts: Counts = defaultdict(lambda: defaultdict(float))
    logs = zip(found.actions_BT.tolist(), found.labels_BT.tolist(), strict=True)
    for weight, (actions, labels), count in zip(
        odds, logs, found.num_actions_B.tolist(), strict=True
    ):
        stack: tuple[int, ...] = ()
        for action, label in zip(actions[:count], labels[:count], strict=True):
            counts[stack][label] += weight
            if action < V:
                stack = (*stack, action)
            elif action == space.backspace_id:
                stack = stack[:-1]
    return counts


def share(labels: dict[int, float], label: int) -> float:
    return labels[label] / sum(labels.values())


@pytest.mark.parametrize("blame", ["environment", "expert"])
def test_how_often_the_expert_rubs_out(blame):
    """rate / (rate + V P(u)): .040, .0769, .200, 1 for a rate of .1, after the last token."""
    counts, backspace = visits(1, blame), V + 1
    shares = [share(counts[(u,)], backspace) for u in range(V)]
    assert shares == pytest.approx([RATE / (RATE + V * p) for p in P], rel=1e-11)
    assert [round(value, 3) for value in shares[:1]] == [0.040]
    assert [round(value, 4) for value in shares[1:]] == [0.0769, 0.2, 1.0]


def test_where_the_next_action_may_slip_too_the_state_is_visited_again():
    """A text that goes on comes back to s u after a slip there: rate / (rate + V P(u) (1 + rate)).

    Of those who arrive at s u by typing u it is rate / (rate + V P(u)) as before.
    """
    counts, backspace = visits(2, "environment"), V + 1
    for u in range(V):
        labels = counts[(u,)]
        assert labels[backspace] == pytest.approx(RATE / V, rel=1e-11)
        goes_on = sum(count for label, count in labels.items() if label != backspace)
        assert goes_on == pytest.approx(P[u] * (1 + RATE), rel=1e-11)
        wanted = RATE / (RATE + V * P[u] * (1 + RATE))
        assert share(labels, backspace) == pytest.approx(wanted, rel=1e-11)


def test_whose_slips_they_are():
    """The env's: labels follow the data. The expert's own: (P(u) + rate / V) / (1 + rate)."""
    start = visits(1, "environment")[()]
    assert [share(start, u) for u in range(V)] == pytest.approx(P, abs=1e-12)
    start = visits(1, "expert")[()]
    wanted = [(p + RATE / V) / (1 + RATE) for p in P]
    assert [share(start, u) for u in range(V)] == pytest.approx(wanted, rel=1e-11)
