"""How far two sets of sequences are apart in a scorer's features: Frechet distance and MAUVE.

Both depend on the scorer, and on how many sequences there are: compare figures of one scorer, of as
many sequences each, and with the figure of real sequences against other real ones.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

import torch
from torch import Tensor

from rubout.errors import UserError

TITLES = {
    "frechet-distance": ("Frechet distance", "of Gaussians fitted to a scorer's features", "low"),
    "mauve": ("MAUVE", "area under the divergence frontier of a scorer's features", "high"),
}
"""By figure: what a reader calls it, what it is, and where it should be: low, high or as data."""


def frechet_distance(generated_BD: Tensor, real_BD: Tensor) -> float:
    """The squared Frechet distance of two Gaussians with the means and covariances of the sets,

        |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    With S = F^T F for each set, tr (S1 S2)^(1/2) is the sum of the singular values of F1 F2^T; F is
    the triangular factor of the centred features, so that no square root is taken of eigenvalues
    that rounding has made negative.

    It grows with sampling noise: of n sequences each of one and the same distribution it is not 0
    but falls like 1/n. Fewer than D + 1 sequences have no covariance of full rank, and give mostly
    that noise; they are refused. Ten times D is a sensible least.

    Args:
        generated_BD: float [B, D], of generated sequences.
        real_BD: float [R, D], of real ones, by the same scorer.

    Returns:
        not negative; 0 where means and covariances are the same.

    Raises:
        ValueError: the widths differ.
        UserError: there are fewer than D + 1 sequences.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NIPS 2017), FID; on text
    de Masson d'Autume et al., "Training Language GANs from Scratch" (NeurIPS 2019), FED, and
    Semeniuk et al., "On Accurate Evaluation of GANs for Language Generation" (2018).
    """
    _check(generated_BD, real_BD)
    width = generated_BD.shape[1]
    count = min(len(generated_BD), len(real_BD))
    if count <= width:
        raise UserError(
            f"the Frechet distance of {width} features needs more than {width} sequences on "
            f"either side, not {count}: draw more, or fit a scorer with fewer hidden units"
        )
    (mean1_D, factor1_DD), (mean2_D, factor2_DD) = _moments(generated_BD), _moments(real_BD)
    overlap = torch.linalg.svdvals(factor1_DD @ factor2_DD.T).sum()
    traces = factor1_DD.square().sum() + factor2_DD.square().sum()
    return max(0.0, float((mean1_D - mean2_D).square().sum() + traces - 2 * overlap))


def mauve(generated_BD: Tensor, real_BD: Tensor, seed: int = 0) -> float:
    """MAUVE of two sets of features, by the authors' package with its defaults.

    Features are clustered together, one cluster for ten sequences of the smaller set, and the two
    histograms over clusters compared. It is biased upwards where sequences are few, and depends on
    their number: the authors advise some thousands on either side.

    Args:
        generated_BD: float [B, D], of generated sequences.
        real_BD: float [R, D], of real ones, by the same scorer.
        seed: of the clustering.

    Returns:
        above 0, at most 1 up to rounding, which the same histograms have.

    Raises:
        ValueError: the widths differ.
        UserError: the package is not installed.

    Source: Pillutla et al., "MAUVE: Measuring the Gap Between Neural Text and Human Text Using
    Divergence Frontiers" (NeurIPS 2021).
    """
    _check(generated_BD, real_BD)
    try:
        package = importlib.import_module("mauve")
    except ModuleNotFoundError as error:
        raise UserError(
            f"MAUVE needs a package that is not installed ({error.name}): pip install mauve-text"
        ) from None
    with contextlib.redirect_stdout(sys.stderr):
        found = package.compute_mauve(
            p_features=real_BD.double().cpu().numpy(),
            q_features=generated_BD.double().cpu().numpy(),
            seed=seed,
            verbose=False,
        )
    return float(found.mauve)


def _moments(features_BD: Tensor) -> tuple[Tensor, Tensor]:
    """The mean, float64 [D], and F [D, D] such that F^T F is the covariance, over B - 1."""
    features_BD = features_BD.double()
    mean_D = features_BD.mean(0)
    _, factor_DD = torch.linalg.qr(features_BD - mean_D, mode="r")
    return mean_D, factor_DD / (len(features_BD) - 1) ** 0.5


def _check(generated_BD: Tensor, real_BD: Tensor) -> None:
    if generated_BD.ndim != 2 or real_BD.ndim != 2 or generated_BD.shape[1] != real_BD.shape[1]:
        shapes = f"{list(generated_BD.shape)} and {list(real_BD.shape)}"
        raise ValueError(f"features must be [B, D] and [R, D] of one width, not {shapes}")
