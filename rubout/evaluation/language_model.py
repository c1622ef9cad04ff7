"""What a language model of one corpus says of another: the LM score and the reverse LM score.

    LM score          NLL of generated sequences under a model fitted to real ones: quality
    reverse LM score  NLL of real test sequences under a model fitted to generated ones: quality
                      and diversity, since what is never generated is not learned

Both in nats per action, `<eos>` included. The LM score alone is lowest for the likeliest sequence
over and over. The reverse one cannot be deceived so; the same model fitted to real sequences gives
what to compare it with.

The protocol, the same for both: the same network, configuration and seed, fitted to the same
number of sequences; a share of them, drawn by the seed, is held out and decides when to stop.

Source: Caccia et al., "Language GANs Falling Short" (ICLR 2020), section 4; for the reverse score
Zhao et al., "Adversarially Regularized Autoencoders" (ICML 2018), as reverse perplexity, its
exponential.
"""

from __future__ import annotations

import torch

from rubout.evaluation.estimate import Estimate
from rubout.evaluation.features import LanguageModelConfig, as_written, fit_language_model
from rubout.evaluation.nll import nll
from rubout.policies.lstm import LSTMPolicy
from rubout.policies.network import NetworkPolicy
from rubout.types import ActionSpace, Sequences

TITLES = {
    "lm-score": ("LM score", "nats per action of samples under a model of real text", "as data"),
    "reverse-lm-score": (
        "reverse LM score",
        "nats per action of real text under a model of samples",
        "low",
    ),
}
"""By figure: what a reader calls it, what it is, and where it should be: low, high or as data."""


def fit_scorer(
    sequences: Sequences,
    space: ActionSpace,
    config: LanguageModelConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LSTMPolicy:
    """A language model of some sequences, by the protocol of the module.

    Args:
        sequences: real or generated, token ids without `<eos>`; at least two.
        space: of the task: without a backspace.
        config: the same for every scorer that is compared; None: the defaults.
        seed: of the split, the weights, the order and dropout.
        device: where to fit.

    Raises:
        ValueError: fewer than two sequences, or see `fit_language_model`.
    """
    config = config or LanguageModelConfig()
    train, validation = hold_out(sequences, config.held_out, seed)
    return fit_language_model(train, validation, space, config, seed, device)


def lm_score(scorer: NetworkPolicy, generated: Sequences) -> Estimate:
    """NLL of generated sequences under a scorer fitted to real ones, in nats per action.

    Args:
        scorer: of `fit_scorer`, on real sequences.
        generated: token ids without `<eos>`.
    """
    return nll(scorer, as_written(generated, scorer.space))


def reverse_lm_score(
    generated: Sequences,
    test: Sequences,
    space: ActionSpace,
    config: LanguageModelConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Estimate:
    """NLL of real test sequences under a scorer fitted to generated ones, in nats per action.

    The interval is that of the test sequences: fitting to other samples would vary it further.

    Args:
        generated: as many as the scorer of real sequences was fitted to, or the figures are of
            different amounts of text and cannot be compared.
        test: real, seen by no model.
        space: of the task: without a backspace.
        config: that of the scorer of real sequences; None: the defaults.
        seed: that of the scorer of real sequences.
        device: where to fit.
    """
    scorer = fit_scorer(generated, space, config, seed, device)
    return nll(scorer, as_written(test, space))


def hold_out(sequences: Sequences, share: float, seed: int) -> tuple[Sequences, Sequences]:
    """Split at random: what is left, and the share held out, at least one each.

    Raises:
        ValueError: there are fewer than two sequences.
    """
    if len(sequences) < 2:
        raise ValueError(f"a language model needs two sequences or more, not {len(sequences)}")
    count = min(max(1, round(share * len(sequences))), len(sequences) - 1)
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(seed))
    return sequences[order[count:]], sequences[order[:count]]
