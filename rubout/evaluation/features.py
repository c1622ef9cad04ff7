"""A scorer of our own: a small language model fitted to some sequences, and what it sees in others.

It needs no download and works on any tokens. Its features are those of what it was fitted to, so
that distances between features can be compared only where one and the same scorer gave them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rubout.evaluation.nll import nll
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.tape import replay, written
from rubout.types import ActionSpace, Sequences, Trajectories

_CLIP = 5.0  # largest global norm of the gradient, as in SeqGAN's code


@dataclass(frozen=True)
class LanguageModelConfig:
    """Options of the language model that evaluations fit, and of its fitting."""

    embedding: int = 64
    """Width of the token embedding."""
    hidden: int = 64
    """Hidden units: the width of the features."""
    dropout: float = 0.3
    """Dropout on the embedding and on the hidden units, while fitting."""
    lr: float = 0.01
    """Adam's learning rate."""
    batch_size: int = 64
    """Sequences an update."""
    epochs: int = 20
    """Most passes over the sequences."""
    patience: int = 2
    """Passes without a better validation likelihood, after which to stop."""
    held_out: float = 0.1
    """Share of the sequences that decides when to stop, where no others are given."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.batch_size, self.epochs, self.patience) < 1:
            raise ValueError("sizes, epochs and patience of a language model must be at least 1")
        if not (0 <= self.dropout < 1 and 0 < self.held_out < 1 and self.lr > 0):
            raise ValueError(
                "a language model needs dropout in [0, 1), held-out in (0, 1) and a positive lr"
            )


def fit_language_model(
    train: Sequences,
    validation: Sequences,
    space: ActionSpace,
    config: LanguageModelConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LSTMPolicy:
    """An LSTM of greatest likelihood, of the pass that was best on the validation sequences.

    On the CPU, with as many threads, the same arguments give the same weights bit for bit. The
    global random state is left as it was.

    Args:
        train: token ids without `<eos>`, what it learns.
        validation: of the same kind, what decides when to stop.
        space: of the task: without a backspace.
        config: sizes and fitting; None: the defaults.
        seed: of the weights, of the order and of dropout.
        device: where to fit.

    Returns:
        the model, frozen, dropout off.

    Raises:
        ValueError: there are no sequences, they do not fit into the space, or it has a backspace.
        RuntimeError: no pass had a finite likelihood.
    """
    config = config or LanguageModelConfig()
    text, held_out = as_written(train, space), as_written(validation, space)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        sizes = LSTMConfig(
            embedding=config.embedding, hidden=config.hidden, dropout=config.dropout, init="torch"
        )
        model = LSTMPolicy(space, sizes).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
        best, weights, waited = math.inf, _copy(model), 0
        for _ in range(config.epochs):
            _pass(model, optimizer, text, config.batch_size)
            loss = nll(model, held_out).mean
            if loss < best:
                best, weights, waited = loss, _copy(model), 0
            else:
                waited += 1
            if waited == config.patience:
                break
    if not math.isfinite(best):
        raise RuntimeError(f"the language model diverged at a learning rate of {config.lr}")
    model.load_state_dict(weights)
    return model.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def features(scorer: NetworkPolicy, sequences: Sequences, batch_size: int = 256) -> Tensor:
    """The mean of a scorer's hidden states: at the start, and after each token.

    Dropout is off. The state at the start is the same for all, and all that an empty sequence has.

    Args:
        scorer: on any device.
        sequences: B of them, token ids without `<eos>`, on any device.
        batch_size: sequences encoded at a time.

    Returns:
        float64 [B, D], on the CPU.

    Raises:
        ValueError: there are no sequences, or they do not fit into the scorer's space.
    """
    text = as_written(sequences, scorer.space)
    training = scorer.training
    scorer.eval()
    parts = []
    for first in range(0, len(text), batch_size):
        some = slice(first, first + batch_size)
        batch = text[some].trimmed().to(scorer.head.weight.device)
        hidden_BND = scorer.encode(replay(scorer.space, batch)).double().cpu()
        lengths_B1 = sequences.lengths_B[some].cpu().unsqueeze(1)
        real_BN = torch.arange(hidden_BND.shape[1]) <= lengths_B1
        parts.append((hidden_BND * real_BN.unsqueeze(2)).sum(1) / (lengths_B1 + 1))
    scorer.train(training)
    return torch.cat(parts)


def as_written(sequences: Sequences, space: ActionSpace) -> Trajectories:
    """The sequences as an expert types them, if the space has room for them.

    Args:
        sequences: token ids without `<eos>`.
        space: of a task.

    Raises:
        ValueError: see `fit_language_model`.
    """
    if space.backspace:
        raise ValueError("a language model writes without a backspace: give the task's own space")
    if not len(sequences):
        raise ValueError("there are no sequences")
    longest = int(sequences.lengths_B.max())
    if longest > space.max_length or bool((sequences.tokens_BL >= space.num_tokens).any()):
        raise ValueError(
            f"sequences of up to {longest} tokens do not fit into a space of {space.max_length} "
            f"tokens, each below {space.num_tokens}"
        )
    return written(space, sequences)


def _pass(
    model: LSTMPolicy, optimizer: torch.optim.Optimizer, text: Trajectories, batch_size: int
) -> None:
    """One update for each batch, in random order."""
    model.train()
    for rows in torch.split(torch.randperm(len(text)), batch_size):
        batch = text[rows].trimmed().to(model.head.weight.device)
        weights_BT = (-1 / batch.num_actions_B.sum()).expand_as(batch.actions_BT)
        loss, _ = model.weighted_log_likelihood(batch, weights_BT)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
