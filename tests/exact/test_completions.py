"""Monte-Carlo completions, against all that can be typed on, and against typing each by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from rubout.policy import Policy
from rubout.reward import Reward
from rubout.rollout import completions as completions_module
from rubout.rollout import draw as draw_module
from rubout.rollout.draw import seed_of
from rubout.rollout.inverse_cdf import Located, locate
from rubout.rollout.rewards import WeightedSum
from rubout.rollout.sampler import Request, Sampler
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.completing import (
    BACKSPACE,
    EOS,
    FULL,
    POLICIES,
    SPACES,
    Chosen,
    Worth,
    exact_values,
    prompt_of,
    prompts_for,
    tabular,
    typed_on,
)
from tests.exact.conftest import T


def values_of(drawn: Trajectories) -> tuple[Tensor, Tensor]:
    assert drawn.action_values_BT is not None
    assert drawn.value_errors_BT is not None
    return drawn.action_values_BT, drawn.value_errors_BT


@pytest.mark.parametrize(("by_action", "step_penalty"), [(False, 0.0), (True, 0.3)])
@pytest.mark.parametrize("prompted", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_means_and_their_errors(
    name: str, prompted: bool, by_action: bool, step_penalty: float
) -> None:
    """About 10^5 completions; the errors stated are those made, one by one and pooled."""
    space, count = SPACES[name], 256
    sampler = Sampler(tabular(space), Worth(space, by_action), step_penalty)
    prompts = prompts_for(space, count) if prompted else None
    drawn = sampler.sample(Request(3, 0, count, prompts, completions=250))
    value_BT, error_BT = values_of(drawn)
    by_prefix: dict[tuple[tuple[int, ...], ...], list[float]] = {}
    for row, typed in enumerate(drawn.actions_BT.tolist()):
        prompt = prompt_of(drawn, row)
        exact = exact_values(space, by_action, step_penalty, prompt)
        for step in range(int(drawn.num_actions_B[row])):
            prefix, error = tuple(typed[: step + 1]), float(error_BT[row, step])
            off = float(value_BT[row, step]) - exact[prefix]
            if error < 1e-6:  # there is one way to go on, or none
                assert abs(off) < 1e-5
            else:
                by_prefix.setdefault((prompt, prefix), []).append(off / error)
    assert not error_BT.gather(1, drawn.num_actions_B.unsqueeze(1) - 1).any()
    z = torch.tensor([value for values in by_prefix.values() for value in values])
    assert len(z) > 150, "the test must see what it is about"
    assert float(z.abs().max()) < 4
    assert 0.8 < float(z.square().mean()) < 1.25
    # Rows that share a prefix are estimated independently of one another.
    pooled = torch.tensor([sum(values) / len(values) ** 0.5 for values in by_prefix.values()])
    assert float(pooled.abs().max()) < 4
    assert 0.3 < float(pooled.square().mean()) < 1.9


@pytest.mark.parametrize("name", SPACES)
def test_the_naive_way_expects_the_same(name: str) -> None:
    """Each prefix typed again in a fresh request, and completed: `Request.prefixes`."""
    space, copies = SPACES[name], 2500
    sampler = Sampler(tabular(space), Worth(space), step_penalty=0.1)
    drawn = sampler.sample(Request(8, 0, 12, completions=copies))
    value_BT, error_BT = values_of(drawn)
    again = {}
    for row, typed in enumerate(drawn.actions_BT.tolist()):
        for step in range(int(drawn.num_actions_B[row]) - 1):
            prefix = tuple(typed[: step + 1])
            if prefix not in again:
                prefixes = Sequences.of([prefix] * copies)
                fresh = sampler.sample(Request(100 + len(again), 0, copies, prefixes=prefixes))
                assert fresh.rewards_BT is not None
                again[prefix] = fresh.rewards_BT.sum(1) - 0.1  # nobody pays for the prefix's end
                assert not fresh.rewards_BT[:, : step + 1].any()
            naive_N = again[prefix].double()
            error = (float(error_BT[row, step]) ** 2 + float(naive_N.var()) / copies) ** 0.5
            assert abs(float(value_BT[row, step]) - float(naive_N.mean())) < 4 * error + 1e-6
    assert len(again) > 8


@dataclass(frozen=True)
class Case:
    """What is asked for."""

    every: int = 1
    first: int = 0
    prompted: bool = False
    begun: bool = False
    by_action: bool = False
    step_penalty: float = 0.0
    temperature: float = 1.0
    suppress: tuple[int, ...] = ()
    max_actions: int | None = None


CASES = {
    "plain": Case(),
    "prompts": Case(prompted=True, first=7, step_penalty=0.25),
    "every": Case(every=2, by_action=True, first=1000),
    "begun": Case(begun=True, by_action=True, step_penalty=0.5, every=2),
    "chosen": Case(temperature=0.6, suppress=(1,)),
    "cut": Case(max_actions=2, prompted=True, by_action=True),
}
ROWS, COPIES = 10, 3


def ask(case: Case, space: ActionSpace) -> Request:
    prompts = prompts_for(space, ROWS) if case.prompted else None
    begun = Sequences.of([[0] * (row % 2) for row in range(ROWS)]) if case.begun else None
    return Request(21, case.first, ROWS, prompts, begun, completions=COPIES, every=case.every)


def literal(policy: Policy, case: Case, drawn: Trajectories) -> tuple[Tensor, Tensor]:
    """Values and errors, a completion at a time, with the numbers that the request would use."""
    space, request = policy.space, ask(case, policy.space)
    chosen = Chosen(seed_of(request.seed, "completions"), case.temperature, case.suppress)
    worth = Worth(space, case.by_action)

    def earned(log: Trajectories, step: int) -> float:
        value, count = worth(log)[0], int(log.num_actions_B)
        total = float(value[step:].sum()) if case.by_action else float(value)
        return total - case.step_penalty * (count - step)

    value_BT, error_BT = torch.zeros(2, *drawn.actions_BT.shape, dtype=torch.float64)
    for row in range(ROWS):
        prompts = None if drawn.prompts is None else drawn.prompts[row : row + 1]
        count = int(drawn.num_actions_B[row])
        given = 0 if request.prefixes is None else int(request.prefixes.lengths_B[row])
        held = (earned(drawn[row : row + 1].trimmed(), count - 1), 0.0)
        for length in range(count, 0, -1):
            if given < length < count and length % case.every == 0:
                begun = drawn.actions_BT[row, :length].tolist()
                first = ((case.first + row) * (space.action_limit + 1) + length) * COPIES
                logs = [
                    typed_on(policy, prompts, begun, chosen, first + copy) for copy in range(COPIES)
                ]
                returns = torch.tensor([earned(log, length - 1) for log in logs]).double()
                held = (float(returns.mean()), float(returns.std()) / COPIES**0.5)
            value_BT[row, length - 1], error_BT[row, length - 1] = held
    return value_BT.float(), error_BT.float()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", POLICIES)
def test_each_is_as_typed_by_itself(
    kind: str, name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are typed on together, and however the request is split."""
    asked = CASES[case]
    space = replace(SPACES[name], max_actions=asked.max_actions or SPACES[name].max_actions)
    policy = POLICIES[kind](space)
    sampler = Sampler(policy, Worth(space, asked.by_action), asked.step_penalty)
    request = ask(asked, space)

    def sample(parts: list[Request]) -> Trajectories:
        drawn = [sampler.sample(part, asked.temperature, 0, asked.suppress) for part in parts]
        return Trajectories.cat(drawn)

    whole = sample([request])
    expected_BT, errors_BT = literal(policy, asked, whole)
    torch.testing.assert_close(values_of(whole)[0], expected_BT, rtol=0, atol=1e-6)
    torch.testing.assert_close(values_of(whole)[1], errors_BT, rtol=0, atol=1e-6)
    assert bool(errors_BT.any()), "the test must see what it is about"
    last_B1 = whole.num_actions_B.unsqueeze(1) - 1
    assert whole.rewards_BT is not None
    assert values_of(whole)[0].gather(1, last_B1).equal(whole.rewards_BT.gather(1, last_B1))
    if asked.max_actions:
        assert not bool(whole.terminated_B.all())
    for size in (1, 4):
        same_values(sample(request.split(size)), whole)
    monkeypatch.setattr(completions_module, "_WIDEST", {"cpu": 1})
    monkeypatch.setattr(draw_module, "_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr(draw_module, "_LEAST_ROWS", 1)
    same_values(sample([request]), whole)


def test_what_copies_share_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All copies of a prefix stand before the same logits."""
    rows: list[int] = []

    def counted(weights_BA: Tensor, uniforms_BN: Tensor) -> Located:
        rows.append(len(weights_BA))
        return locate(weights_BA, uniforms_BN)

    monkeypatch.setattr(draw_module, "locate", counted)
    sampler = Sampler(tabular(FULL), Worth(FULL))
    sampler.sample(Request(2, 0, ROWS, completions=COPIES))
    after = [1 + COPIES * (T - length - 1) for length in range(1, T)]
    assert sum(rows) == ROWS * (T + sum(after))


def same_values(one: Trajectories, other: Trajectories) -> None:
    assert one.actions_BT.equal(other.actions_BT)
    for ours, theirs in zip(values_of(one), values_of(other), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_actions_between_have_the_value_of_the_next_that_was_completed() -> None:
    space = replace(FULL, max_length=5)
    sampler = Sampler(tabular(space), Worth(space))
    drawn = sampler.sample(Request(2, 0, 6, completions=8, every=2))
    value_BT, error_BT = values_of(drawn)
    assert drawn.rewards_BT is not None
    assert value_BT[:, [0, 2, 4]].equal(
        torch.cat([value_BT[:, [1, 3]], drawn.rewards_BT[:, 4:]], dim=1)
    )
    assert error_BT[:, [0, 2]].equal(error_BT[:, [1, 3]])
    assert bool((error_BT[:, :4] > 0).all())
    rare = sampler.sample(Request(2, 0, 6, completions=8, every=6))
    assert values_of(rare)[0].equal(rare.rewards_BT[:, 4:].expand(6, 5))  # type: ignore[index]
    assert not values_of(rare)[1].any()


def test_one_completion_has_no_error_to_state() -> None:
    drawn = Sampler(tabular(EOS), Worth(EOS)).sample(Request(2, 0, 20, completions=1))
    assert bool(values_of(drawn)[0].any())
    assert not values_of(drawn)[1].any()


def test_without_completions_there_are_no_values() -> None:
    policy = tabular(EOS)
    plain = Sampler(policy, Worth(EOS)).sample(Request(2, 0, 20))
    assert plain.action_values_BT is None
    assert plain.value_errors_BT is None
    for sampler, paid in ((Sampler(policy), True), (Sampler(policy, Worth(EOS)), False)):
        with pytest.raises(ValueError, match="completions need a reward"):
            sampler.sample(Request(2, 0, 20, paid=paid, completions=1))


def test_completions_change_nothing_that_is_drawn() -> None:
    for make in POLICIES.values():
        sampler = Sampler(make(BACKSPACE), Worth(BACKSPACE, by_action=True))
        plain = sampler.sample(Request(2, 0, 40))
        judged = sampler.sample(Request(2, 0, 40, completions=2))
        assert judged.actions_BT.equal(plain.actions_BT)
        assert judged.log_probs_BT.equal(plain.log_probs_BT)
        assert plain.rewards_BT is not None
        assert plain.rewards_BT.equal(judged.rewards_BT)  # type: ignore[arg-type]


def test_a_policy_may_be_of_float64() -> None:
    request = Request(2, 0, 20, completions=2)
    single, double = (
        Sampler(policy, Worth(EOS)).sample(request)
        for policy in (tabular(EOS), tabular(EOS).double())
    )
    same_values(single, double)
    torch.testing.assert_close(single.log_probs_BT, double.log_probs_BT)


class Length(Reward):
    def __call__(self, trajectories: Trajectories) -> Tensor:
        return trajectories.num_actions_B.float()

    def report(self, trajectories: Trajectories) -> dict[str, Tensor]:
        return {"half": trajectories.num_actions_B / 2}


class Each(Reward):
    def __call__(self, trajectories: Trajectories) -> Tensor:
        return trajectories.actions_BT * 0.5 * trajectories.mask_BT


@pytest.mark.parametrize("shares", [(0.25, 0.75), (0.25, 0.0), (0.0, 0.75)])
def test_a_weighted_sum(shares: tuple[float, float]) -> None:
    """[B] is paid with the last action where anything is [B, T]; nothing weightless is paid."""
    length, each = Length(EOS, None), Each(EOS, None)
    total = WeightedSum([(length, shares[0]), (each, shares[1])])
    drawn = Sampler(tabular(EOS), total).sample(Request(2, 0, 30, completions=2))
    assert drawn.rewards_BT is not None
    assert len(set(drawn.num_actions_B.tolist())) > 2
    last_BT = torch.arange(drawn.actions_BT.shape[1]) == drawn.num_actions_B.unsqueeze(1) - 1
    expected_BT = shares[0] * length(drawn).unsqueeze(1) * last_BT + shares[1] * each(drawn)
    torch.testing.assert_close(drawn.rewards_BT, expected_BT)
    assert total(drawn).ndim == (2 if shares[1] else 1)
    assert drawn.reports is not None
    expected = {"Length": length(drawn), "Each": each(drawn).sum(1)}
    expected["Length/half"] = length(drawn) / 2
    assert drawn.reports.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(drawn.reports[name], value)


def test_a_weighted_sum_of_totals() -> None:
    one, other = Length(EOS, None), Length(EOS, None)
    drawn = Sampler(tabular(EOS)).sample(Request(2, 0, 30))
    total = WeightedSum([(one, 0.5), (other, 2.0)])
    torch.testing.assert_close(total(drawn), drawn.num_actions_B * 2.5)
    assert (total.space, total.codec) == (EOS, None)
    reports = total.report(drawn)
    assert [*reports] == ["Length-1", "Length-1/half", "Length-2", "Length-2/half"], "two of a name"
