"""Where a loss is least, and where the mixture settles, to rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.sequence_match import Terminal
from tests.exact.tabular import TabularPolicy, Typing


def equilibrium(
    world: Typing,
    policy: TabularPolicy,
    data_K: Tensor,
    alpha: float,
    terminal: Terminal = "eos",
) -> None:
    """Bring the table to the fixed point of the chi2-mixture, without its loss.

    In turns, r = 4 (rho_data - rho_pi) / (rho_data + rho_pi), a little of it, and the soft-optimal
    policy for the rewards x = r / alpha (one step of soft policy iteration).
    """
    pairs, states, after = len(data_K), world.states_K, world.next_K
    actions, ends, gamma = world.actions_K, world.ends_K, world.gamma
    unit = torch.eye(len(world.texts), dtype=torch.float64)
    rho_data = world.occupancy(data_K)
    logits_nA = torch.where(world.legal_nA, 0.0, -torch.inf).double()
    x = torch.zeros_like(rho_data)
    for _ in range(10_000):
        probs_nA = logits_nA.softmax(1)
        rho = world.occupancy(world.visits(probs_nA))
        change = 4 / alpha * (rho_data - rho) / (rho_data + rho) - x
        change[pairs:] *= terminal == "eos"
        if alpha * float(change.abs().max()) < 2e-12:
            break
        x = x + min(0.05 * alpha, 0.1) * change
        probs_K = probs_nA[states, actions]
        now_K = x[:pairs].index_add(0, ends.nonzero().squeeze(1), gamma / (1 - gamma) * x[pairs:])
        entropy_K = -torch.special.xlogy(probs_K, probs_K)
        moves = torch.zeros_like(unit).index_put((states, after), probs_K * ~ends, accumulate=True)
        earned = torch.zeros(len(unit), dtype=torch.float64)
        earned = earned.index_add(0, states, probs_K * now_K + entropy_K)
        values_n = torch.linalg.solve(unit - gamma * moves, earned)
        logits_K = now_K + gamma * values_n[after] * ~ends
        logits_nA = logits_nA.index_put((states, actions), logits_K)
    assert alpha * float(change.abs().max()) < 2e-12, "no fixed point found"
    with torch.no_grad():
        policy.head.weight.zero_()
        policy.head.weight[actions, states] = logits_K
        policy.head.weight[world.space.eos_id, world.end_rows()] = x[pairs:] / (1 - gamma)


def settle(policy: TabularPolicy, loss: Callable[[], Tensor], start: Tensor | None = None) -> None:
    """Bring the table to the minimum of a convex loss, to rounding.

    L-BFGS, then Newton's method; the Jacobian by differences, as the backward of a policy's score
    has no backward of its own.

    Args:
        policy: float64.
        loss: of the policy.
        start: the table to begin with, [A, rows]; None: as it is.
    """
    weight = policy.head.weight
    if start is not None:
        with torch.no_grad():
            weight.copy_(start)

    def closure() -> Tensor:
        weight.grad = None
        value = loss()
        value.backward()
        return value.detach()

    def at(values: Tensor) -> Tensor:
        with torch.no_grad():
            weight[active] = values
        closure()
        assert weight.grad is not None
        return weight.grad[active]

    near = torch.optim.LBFGS([weight], max_iter=60, history_size=30, line_search_fn="strong_wolfe")
    near.step(closure)
    active = weight.grad != 0  # what the loss depends on
    values, size = weight.detach()[active], 1e-5
    slope = at(values)
    for _ in range(30):
        units = size * torch.eye(len(values), dtype=values.dtype)
        columns = [(at(values + unit) - at(values - unit)) / (2 * size) for unit in units]
        # The gradient falls tenfold or more with every use of one Jacobian, or it is made anew.
        inverse = torch.linalg.pinv(torch.stack(columns, 1), rtol=1e-11)
        for _ in range(20):
            before, values = float(slope.norm()), values - inverse @ slope
            slope = at(values)
            if float(slope.norm()) > 0.1 * before:
                break
        if float(slope.abs().max()) < 1e-14:
            break
    assert float(slope.abs().max()) < 1e-13, f"no minimum found: {slope.abs().max():.1e}"


def minimise(function: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The minimum of a smooth function of a vector: L-BFGS, then Newton's method to rounding."""
    values = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(values)
        value.backward()
        return value

    optimizer.step(closure)
    found = values.detach()
    for _ in range(8):
        slope = torch.autograd.functional.jacobian(function, found)
        curvature = torch.autograd.functional.hessian(function, found)
        found = found - torch.linalg.pinv(curvature, rtol=1e-11) @ slope
    assert float(torch.autograd.functional.jacobian(function, found).abs().max()) < 1e-13
    return found
