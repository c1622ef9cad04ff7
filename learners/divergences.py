"""The divergences of SequenceMatch, a line each; see `rubout.divergence` for what they are made of.

D_f(model || data) = sum data f(model / data).
"""

from __future__ import annotations

import torch

from rubout.divergence import Divergence
from rubout.errors import UserError, nearest
from rubout.plugins import resolve

DIVERGENCES = {
    # phi(r) = r - r^2 / 4: Pearson's chi^2(model || data), infinite where the data never go
    "chi2": Divergence(lambda r: r.square() / 4),
    # the same, to the even mixture of data and model: bounded, and it sees where the model goes
    "chi2-mixture": Divergence(lambda r: r.square() / 4, mixture=True),
    # phi(r) = 1 - e^-r: KL(model || data)
    "reverse-kl": Divergence(lambda r: r + torch.expm1(-r), lowest=-4.0),
    # phi(r) = 1 + log r: KL(data || model), of positive rewards only
    "forward-kl": Divergence(lambda r: r - 1 - r.log(), neutral=1.0, lowest=0.05),
    # phi(r) = log(2 - e^-r): twice the Jensen-Shannon divergence
    "jensen-shannon": Divergence(lambda r: r - torch.log1p(-torch.expm1(-r)), lowest=-0.65),
    # phi(r) = r / (1 + r): squared Hellinger distance
    "hellinger": Divergence(lambda r: r.square() / (1 + r), lowest=-0.8),
}


def find(name: str) -> Divergence:
    """The divergence of a name, or `module:name`.

    Raises:
        UserError: there is none.
    """
    if ":" not in name:
        if name not in DIVERGENCES:
            raise UserError(
                f"unknown learner.divergence {name!r}{nearest(name, DIVERGENCES)}; "
                f"your own is named as module:name"
            )
        return DIVERGENCES[name]
    try:
        found = resolve(name)
    except Exception as error:  # whatever a module does when it is imported
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"learner.divergence {name}: {reason}") from error
    if not isinstance(found, Divergence):
        raise UserError(f"learner.divergence {name}: not a rubout.divergence.Divergence")
    return found
