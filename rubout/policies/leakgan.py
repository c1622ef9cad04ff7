"""LeakGAN's generator: a manager that sees what the discriminator sees, and a worker that types.

Source: Guo et al., "Long Text Generation via Adversarial Training with Leaked Information" (AAAI
2018). With f_t the discriminator's features of the t tokens on the tape, which are constants,

    g_t = M(f_0 .. f_t), of length 1                  the manager's sub-goal, float [F]
    w_t = psi(g_{t-1} + .. + g_{t-c})                 the goal embedding, float [k]
    G(. | s_t) = softmax(O_t w_t),  O_t [A, k]        the worker's LSTM and a linear layer

O_t is linear in the worker's h_t, so the logits are linear in the products of h_t and w_t: those
are the hidden state that `NetworkPolicy` knows, and `head` holds the weights of O_t.

Deviations. The goals that are missing at the beginning are one learned direction, as if the manager
had said it before the start: the paper is silent, the official code learns one for each row of a
batch. The code multiplies the logits by 1.5 where it samples for its figures; here nothing does.
`goals` and `normalise` say where the code differs from the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators import DiscriminatorConfig, build
from rubout.policies.network import Memory, NetworkPolicy
from rubout.policies.packing import Packing
from rubout.policies.recurrent import Recurrent, blank, extend
from rubout.tape import Tape, replay, visibility
from rubout.types import ActionSpace, Sequences, Trajectories

_SEQUENCES_AT_A_TIME = 2048


@dataclass(frozen=True)
class LeakGANPolicyConfig:
    """Options of LeakGAN's generator."""

    embedding: int = 32
    """Width of the worker's token embedding."""
    hidden: int = 32
    """Hidden units of the worker, and of the manager."""
    goal: int = 16
    """k: width of the goal embedding; the head has k times as many weights as hidden units."""
    horizon: int = 4
    """c: how many sub-goals are followed at a time, and how far each of them looks ahead."""
    goals: Literal["window", "blocks"] = "window"
    """Follow the last c sub-goals, or, as the official code, in each block of c tokens those of the
    block before."""
    normalise: bool = True
    """Give the goal embedding length 1, as the official code; off: it is as long as it is."""
    init: Literal["torch", "normal"] = "normal"
    """`normal`: every parameter N(0, init-std), as the official code; `torch`: torch's default."""
    init_std: float = 0.1
    """Standard deviation of `--policy.init normal`, and of the direction before the start."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator that leaks its features."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.goal, self.horizon) < 1:
            raise ValueError(
                "policy.embedding, policy.hidden, policy.goal and policy.horizon must be at least 1"
            )
        if self.init_std < 0:
            raise ValueError("policy.init-std must not be negative")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Whole action logs, as manager and worker see them; one pass gives all three.

    Attributes:
        log_probs_BT: float32, log G(label | state), 0 on padding; differentiable in the worker
            alone, for which the sub-goals are constants.
        features_BSF: float32, f of every state and the final one, repeated on padding; constants.
        subgoals_BTF: float32, g of every state that is acted in; differentiable in the manager.
    """

    log_probs_BT: Tensor
    features_BSF: Tensor
    subgoals_BTF: Tensor


class LeakGANPolicy(NetworkPolicy):
    """See the module.

    Attributes:
        discriminator: leaks its features. Typing needs it, so it is among the policy's weights;
            what trains a policy does not train it: it asks for no gradient, and gets none.
    """

    Config = LeakGANPolicyConfig

    def __init__(self, space: ActionSpace, config: LeakGANPolicyConfig) -> None:
        super().__init__(space)
        self.config = config
        discriminator = build(space.num_tokens, space.max_length, config.discriminator)
        self.manager = Recurrent(discriminator.num_features, config.hidden)
        self.subgoal = nn.Linear(config.hidden, discriminator.num_features)
        self.embedding = nn.Embedding(space.num_tokens + 1, config.embedding)
        self.worker = Recurrent(config.embedding, config.hidden)
        self.psi = nn.Linear(discriminator.num_features, config.goal, bias=False)
        self.goal_init = nn.Parameter(torch.empty(1, discriminator.num_features))
        self.head = nn.Linear((config.hidden + 1) * config.goal, space.size)
        if config.init == "normal":
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=config.init_std)
        nn.init.normal_(self.goal_init, std=config.init_std)
        # One bias a gate, as in the papers; and the logits have none but that of O_t.
        for bias in (self.manager.bias_hh_l0, self.worker.bias_hh_l0, self.head.bias):
            nn.init.zeros_(bias)
            bias.requires_grad_(False)
        self.discriminator = discriminator.requires_grad_(False)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """What is trained of `manager` and `worker`: together all but the discriminator.

        The goal embedding and the direction before the start are the worker's.
        """
        whole: dict[str, list[nn.Module]] = {
            "manager": [self.manager, self.subgoal],
            "worker": [self.embedding, self.worker, self.psi, self.head],
        }
        found = {
            name: [p for module in modules for p in module.parameters() if p.requires_grad]
            for name, modules in whole.items()
        }
        found["worker"].append(self.goal_init)
        return found

    def encode(self, tape: Tape) -> Tensor:
        """See `NetworkPolicy.encode`; differentiable in manager and worker."""
        return self._work(tape, self._manage(tape, self._features(tape)))

    def hierarchy(self, trajectories: Trajectories) -> Hierarchy:
        """What a learner that teaches manager and worker apart needs to know of action logs."""
        tape = replay(self.space, trajectories)
        features_BNF = self._features(tape)
        subgoals_BNF = self._manage(tape, features_BNF)
        hidden_BND = self._work(tape, subgoals_BNF.detach())
        log_probs_BT = self.read(trajectories, tape, hidden_BND, {"log_probs"}).log_probs_BT
        assert log_probs_BT is not None
        acted_BT = tape.states_BS[:, :-1]
        return Hierarchy(
            log_probs_BT, _at(features_BNF, tape.states_BS), _at(subgoals_BNF, acted_BT)
        )

    def remember(self, batch_size: int) -> Memory:
        """See `NetworkPolicy.remember`.

        Tokens by place, the two LSTMs' states by depth, and psi of the sub-goals by depth, those
        before the start at the end. Without a backspace one state and the last sub-goals will do.
        """
        config, weight = self.config, self.head.weight
        depths = self.space.max_length + 1 if self.space.backspace else 0
        slots = max(depths, 1)
        told = (batch_size, depths + self._reach(), config.goal)
        tape = (batch_size, self.space.max_length)
        return {
            "tokens": torch.zeros(tape, dtype=torch.int64, device=weight.device),
            **blank("manager", batch_size, slots, self.manager.all_weights[0]),
            **blank("worker", batch_size, slots, self.worker.all_weights[0]),
            "told": self._told_before().detach().expand(told).clone(),
        }

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        """See `NetworkPolicy.extend`."""
        everyone = torch.arange(len(memory["tokens"]), device=tokens_M.device)
        rows = everyone if rows_M is None else rows_M
        typed = depths_M > 0  # the start is no token
        memory["tokens"][rows[typed], depths_M[typed] - 1] = tokens_M[typed]
        features_MF = self._leak(Sequences(memory["tokens"][rows], depths_M))
        (manager,), (worker,) = self.manager.all_weights, self.worker.all_weights
        read_MD = self.embedding(tokens_M)
        manager_MH = extend(memory, "manager", rows_M, features_MF, depths_M, manager)
        worker_MH = extend(memory, "worker", rows_M, read_MD, depths_M, worker)

        config, told = self.config, memory["told"]
        first_M = depths_M % config.horizon if config.goals == "blocks" else 0
        distances_C = torch.arange(1, config.horizon + 1, device=rows.device)
        # A negative depth, one before the start, is taken from the end.
        places_MC = ((depths_M - first_M).unsqueeze(1) - distances_C) % told.shape[1]
        goals_Mk = self._embedded(told[rows.unsqueeze(1), places_MC].sum(1))
        told[rows, depths_M % told.shape[1]] = self.psi(self._subgoals(manager_MH))
        return _products(worker_MH, goals_Mk)

    @torch.no_grad()
    def _leak(self, sequences: Sequences) -> Tensor:
        """Features [M, F], without dropout also while training."""
        training = self.discriminator.training
        self.discriminator.eval()
        try:
            parts = [
                self.discriminator.features(sequences[first : first + _SEQUENCES_AT_A_TIME])
                for first in range(0, len(sequences), _SEQUENCES_AT_A_TIME)
            ]
            return torch.cat(parts)
        finally:
            self.discriminator.train(training)

    def _features(self, tape: Tape) -> Tensor:
        """f of every node [B, N, F]: of the tokens on the path to it.

        The node behind an `<eos>` holds no token: its text is that of the node before.
        """
        length = self.space.max_length
        is_token_BN = (tape.depths_BN > 0) & (tape.tokens_BN < self.space.num_tokens)
        seen_BNN = visibility(tape) & is_token_BN.unsqueeze(1)
        # What is not on the path goes to a place beyond the end.
        places_BNN = torch.where(seen_BNN, tape.depths_BN.unsqueeze(1) - 1, length)
        paths_BNL = tape.tokens_BN.new_zeros(*places_BNN.shape[:2], length + 1).scatter(
            2, places_BNN, tape.tokens_BN.unsqueeze(1).expand_as(places_BNN)
        )[..., :length]
        real_BN = tape.depths_BN > 0
        real_BN[:, 0] = True
        real = Packing(real_BN)
        paths = Sequences(real.pack(paths_BNL), real.pack(seen_BNN.sum(2)))
        return real.pad(self._leak(paths))

    def _manage(self, tape: Tape, features_BNF: Tensor) -> Tensor:
        """g of every node, [B, N, F]."""
        return self._subgoals(self.manager.over(tape, features_BNF))

    def _subgoals(self, hidden: Tensor) -> Tensor:
        return functional.normalize(self.subgoal(hidden), dim=-1)

    def _work(self, tape: Tape, subgoals_BNF: Tensor) -> Tensor:
        """What `head` reads at every node, [B, N, (H + 1) k]."""
        hidden_BNH = self.worker.over(tape, self.embedding(tape.tokens_BN))
        return _products(hidden_BNH, self._goals(tape, subgoals_BNF))

    def _goals(self, tape: Tape, subgoals_BNF: Tensor) -> Tensor:
        """w of every node, [B, N, k]: psi is linear, so what it makes of each sub-goal is added."""
        horizon = self.config.horizon
        told_BNk, before_11k = self.psi(subgoals_BNF), self._told_before()
        first_BN = torch.zeros_like(tape.depths_BN)
        if self.config.goals == "blocks":
            first_BN = tape.depths_BN % horizon
        batch, nodes = tape.depths_BN.shape
        ancestors_BN = torch.arange(nodes, device=first_BN.device).expand(batch, nodes)
        total_BNk = torch.zeros_like(told_BNk)
        for distance in range(1, self._reach() + 1):
            ancestors_BN = tape.parents_BN.gather(1, ancestors_BN)
            there_BN1 = (tape.depths_BN >= distance).unsqueeze(2)
            counts_BN = (distance > first_BN) & (distance <= first_BN + horizon)
            told = torch.where(there_BN1, _at(told_BNk, ancestors_BN), before_11k)
            total_BNk = total_BNk + told * counts_BN.unsqueeze(2)
        return self._embedded(total_BNk)

    def _reach(self) -> int:
        """How far back a sub-goal may have been said that is followed."""
        horizon = self.config.horizon
        return horizon if self.config.goals == "window" else 2 * horizon - 1

    def _told_before(self) -> Tensor:
        """What psi makes of the sub-goal before the start, [1, 1, k]."""
        told_1k: Tensor = self.psi(functional.normalize(self.goal_init, dim=1))
        return told_1k.unsqueeze(0)

    def _embedded(self, goals: Tensor) -> Tensor:
        return functional.normalize(goals, dim=-1) if self.config.normalise else goals


def _at(values_BNF: Tensor, nodes_BS: Tensor) -> Tensor:
    """The values of some nodes of each row, [B, S, F]."""
    return values_BNF.gather(1, nodes_BS.unsqueeze(2).expand(-1, -1, values_BNF.shape[2]))


def _products(hidden: Tensor, goals: Tensor) -> Tensor:
    """All products of one of h [.., H] and one of w [.., k], and w itself: [.., H k + k]."""
    assert hidden.shape[:-1] == goals.shape[:-1]
    products = hidden.unsqueeze(-1) * goals.unsqueeze(-2)
    return torch.cat([products.flatten(-2), goals], dim=-1)
