"""An LSTM over the tape, as the sequence-GAN papers use it.

Source: SeqGAN (Yu et al. 2017) and its code: embedding, LSTM, linear; all parameters N(0, 0.1)
where `init` is `normal`; one bias per gate. The start symbol has an embedding of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from rubout.policies import recurrent
from rubout.policies.network import Memory, NetworkPolicy
from rubout.tape import Tape
from rubout.types import ActionSpace


@dataclass(frozen=True)
class LSTMConfig:
    """Options of the LSTM policy."""

    layers: int = 1
    """Layers, one on the other."""
    embedding: int = 64
    """Width of the token embedding."""
    hidden: int = 128
    """Hidden units a layer."""
    dropout: float = 0.0
    """Dropout on the embedding and on every layer's output, while training."""
    init: Literal["torch", "normal"] = "normal"
    """`normal`: every parameter N(0, init-std), as the official code; `torch`: torch's default."""
    init_std: float = 0.1
    """Standard deviation of `--policy.init normal`."""

    def __post_init__(self) -> None:
        if min(self.layers, self.embedding, self.hidden) < 1:
            raise ValueError("policy.layers, policy.embedding and policy.hidden must be at least 1")
        if not 0 <= self.dropout < 1 or self.init_std < 0:
            raise ValueError("policy.dropout must be in [0, 1), policy.init-std not negative")


class LSTMPolicy(NetworkPolicy):
    """See the module."""

    Config = LSTMConfig

    def __init__(self, space: ActionSpace, config: LSTMConfig) -> None:
        super().__init__(space)
        self.config = config
        self.embedding = nn.Embedding(space.num_tokens + 1, config.embedding)
        self.lstm = nn.LSTM(
            config.embedding,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, space.size)
        if config.init == "normal":
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=config.init_std)
        for layer in range(config.layers):  # torch has two biases a gate, the papers one
            bias = getattr(self.lstm, f"bias_hh_l{layer}")
            nn.init.zeros_(bias)
            bias.requires_grad_(False)

    def encode(self, tape: Tape) -> Tensor:
        """See `NetworkPolicy.encode`."""
        inputs_BNE = self.dropout(self.embedding(tape.tokens_BN))
        if tape.linear:
            hidden_BND, _ = self.lstm(inputs_BNE)
        else:
            hidden_BND = self._encode_tree(tape, inputs_BNE)
        output: Tensor = self.dropout(hidden_BND)
        return output

    def _encode_tree(self, tape: Tape, inputs_BNE: Tensor) -> Tensor:
        """Layer by layer, for what falls out of a node falls out of all paths that pass it."""
        bands = recurrent.cut(tape)
        output = recurrent.over(bands, inputs_BNE, self.lstm.all_weights[0])
        for weights in self.lstm.all_weights[1:]:
            output = recurrent.over(bands, self.dropout(output), weights)
        return output

    def remember(self, batch_size: int) -> Memory:
        """See `NetworkPolicy.remember`: h and c of every layer, by depth."""
        slots = self.space.max_length + 1 if self.space.backspace else 1
        memory: Memory = {}
        for layer, weights in enumerate(self.lstm.all_weights):
            memory |= recurrent.blank(f"layer {layer}", batch_size, slots, weights)
        return memory

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        """See `NetworkPolicy.extend`."""
        output: Tensor = self.embedding(tokens_M)
        for layer, weights in enumerate(self.lstm.all_weights):
            name = f"layer {layer}"
            output = recurrent.extend(memory, name, rows_M, output, depths_M, weights)
        return output
