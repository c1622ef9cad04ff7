"""Options of the networks that judge sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# (width, number of filters)
FILTERS: dict[str, tuple[tuple[int, int], ...]] = {
    "official": (
        *((1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100)),
        *((7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160)),
    ),
    "small": ((2, 100), (3, 200)),
}
HEADS = 4


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Options of a network that judges finished sequences."""

    kind: Literal["cnn", "lstm", "transformer"] = "cnn"
    """Convolutions with a highway layer, a recurrent network read at its end, or attention."""
    filters: Literal["official", "small"] = "small"
    """The CNN's filters: SeqGAN's twelve widths (1,720 filters), or Texygen's two (300)."""
    embedding: int = 64
    """Width of the token embedding; of the transformer as well."""
    hidden: int = 64
    """Hidden units of the LSTM."""
    layers: int = 2
    """Blocks of the transformer, each with 4 heads."""
    dropout: float = 0.25
    """Dropout before the output, while training; in the transformer's blocks as well."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products in the CNN's highway layer where it only judges; it learns in float32."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.layers) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("a network needs widths of at least 1 and a dropout in [0, 1)")
        if self.kind == "transformer" and self.embedding % HEADS:
            raise ValueError(f"a transformer's embedding must be a multiple of its {HEADS} heads")
