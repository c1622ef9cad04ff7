"""A decoder-only transformer over the tape: pre-norm, rotary positions, GELU.

The position of a node is its depth on the tape and a node attends to its surviving ancestors, so
what was rubbed out leaves no trace. While typing, the depth is also the slot in the key-value
cache: a backspace only moves the end back, and the next token overwrites the slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.policies.network import Memory, NetworkPolicy
from rubout.policies.packing import Packing
from rubout.products import Linear
from rubout.tape import Tape, visibility
from rubout.types import ActionSpace


@dataclass(frozen=True)
class TransformerConfig:
    """Options of the transformer policy."""

    layers: int = 4
    """Blocks, one on the other."""
    width: int = 128
    """Hidden units; a multiple of twice the number of heads."""
    heads: int = 4
    """Attention heads."""
    mlp_ratio: int = 4
    """Width of the feed-forward layer, in hidden widths."""
    dropout: float = 0.0
    """Dropout on the embedding and on what each block adds, while training."""
    rotary_base: float = 10000.0
    """Longest wavelength of the rotary positions, over 2 pi."""

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.mlp_ratio) < 1:
            raise ValueError("policy.layers, .width, .heads and .mlp-ratio must be at least 1")
        if not 0 <= self.dropout < 1 or self.rotary_base <= 0:
            raise ValueError("policy.dropout must be in [0, 1), policy.rotary-base positive")
        if self.width % (2 * self.heads):
            raise ValueError("policy.width must be a multiple of twice policy.heads")


class TransformerPolicy(NetworkPolicy):
    """See the module."""

    Config = TransformerConfig
    cos: Tensor
    sin: Tensor

    def __init__(self, space: ActionSpace, config: TransformerConfig) -> None:
        super().__init__(space)
        self.config = config
        self.embedding = nn.Embedding(space.num_tokens + 1, config.width)
        self.stack = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, space.size)
        self.dropout = nn.Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        angles = torch.outer(
            torch.arange(space.max_length + 2, dtype=torch.float64),
            config.rotary_base
            ** -torch.linspace(0, 1, config.width // config.heads // 2 + 1, dtype=torch.float64)[
                :-1
            ],
        )
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def encode(self, tape: Tape) -> Tensor:
        """See `NetworkPolicy.encode`."""
        mask = None if tape.linear else visibility(tape).unsqueeze(1)
        # Only attention needs the rows side by side: all the rest is done for real nodes alone.
        real_BN = tape.depths_BN > 0
        real_BN[:, 0] = True
        real = Packing(real_BN)
        x_MD = self.dropout(self.embedding(real.pack(tape.tokens_BN)))
        turn = self._turn(real.pack(tape.depths_BN))
        for block in self._blocks():
            query, key, value = (
                real.pad(part).transpose(1, 2) for part in block.project(x_MD, turn)
            )
            mixed = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None
            )
            x_MD = block.add(x_MD, real.pack(mixed.transpose(1, 2)))
        return real.pad(self.norm(x_MD))

    def remember(self, batch_size: int) -> Memory:
        """See `NetworkPolicy.remember`: keys and values of every layer, by depth."""
        heads = self.config.heads
        shape = (batch_size, heads, self.space.max_length + 1, self.config.width // heads)
        return {
            f"{kind} {layer}": self.head.weight.new_zeros(shape)
            for layer in range(self.config.layers)
            for kind in ("keys", "values")
        }

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        """See `NetworkPolicy.extend`."""
        slots = _Slots.of(memory["keys 0"], rows_M, depths_M)
        x_MD = self.embedding(tokens_M)
        turn = self._turn(depths_M)
        for layer, block in enumerate(self._blocks()):
            query, key, value = block.project(x_MD, turn)
            keys, values = memory[f"keys {layer}"], memory[f"values {layer}"]
            slots.write(keys, key)
            slots.write(values, value)
            x_MD = block.add(x_MD, slots.attend(query, keys, values))
        output: Tensor = self.norm(x_MD)
        return output

    def _blocks(self) -> list[_Block]:
        return [block for block in self.stack if isinstance(block, _Block)]

    def _turn(self, depths_M: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine for each position, [M, 1, head width / 2]."""
        return self.cos[depths_M].unsqueeze(1), self.sin[depths_M].unsqueeze(1)


@dataclass(frozen=True)
class _Slots:
    """Where one more node of some of B tapes lies in caches [B, H, L + 1, W], and what it sees.

    Attributes:
        rows_M: the tapes.
        depths_M: the nodes' depths.
        depth: that of all nodes, where it is one and they are all tapes'; else None.
        everyone: whether all tapes attend, and the others' results are dropped: to gather what
            most of them have cached takes longer than to read it all.
        unseen: float32 [B or M, 1, width], 0 where a node sees a slot, -inf where not.
    """

    rows_M: Tensor
    depths_M: Tensor
    depth: int | None
    everyone: bool
    unseen: Tensor

    @staticmethod
    def of(cache: Tensor, rows_M: Tensor | None, depths_M: Tensor) -> _Slots:
        """Of new nodes at some depths, in all rows of a cache or in some."""
        batch, device = len(cache), cache.device
        shallowest, deepest = (int(depth) for depth in depths_M.aminmax())
        depth = deepest if rows_M is None and shallowest == deepest else None
        if rows_M is None:
            rows_M = torch.arange(batch, device=device)
        everyone = 2 * len(rows_M) > batch
        seen = depths_M
        if everyone:
            seen = torch.zeros(batch, dtype=depths_M.dtype, device=device)
            seen = seen.index_copy(0, rows_M, depths_M)
        places = torch.arange(deepest + 1, device=device)
        unseen = torch.zeros(len(seen), 1, deepest + 1, device=device, dtype=cache.dtype)
        unseen.masked_fill_((places > seen.unsqueeze(1)).unsqueeze(1), -torch.inf)
        return _Slots(rows_M, depths_M, depth, everyone, unseen)

    def write(self, cache: Tensor, new_MHW: Tensor) -> None:
        """Put the nodes' own into the cache."""
        if self.depth is not None:
            cache[:, :, self.depth] = new_MHW
        else:
            cache[self.rows_M, :, self.depths_M] = new_MHW

    def attend(self, query_MHW: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What the nodes mix of their ancestors' values, [M, H, W]."""
        if self.everyone:
            query = torch.zeros_like(keys[:, :, 0]).index_copy_(0, self.rows_M, query_MHW)
        else:
            query, keys, values = query_MHW, keys[self.rows_M], values[self.rows_M]
        rows, heads, width = query.shape
        seen = slice(self.unseen.shape[2])
        scores = torch.bmm(
            query.reshape(rows * heads, 1, width),
            keys.flatten(0, 1)[:, seen].transpose(1, 2),
        )
        scores = scores.view(rows, heads, -1).mul_(width**-0.5).add_(self.unseen)
        shares = torch.softmax(scores, dim=2).view(rows * heads, 1, -1)
        mixed = torch.bmm(shares, values.flatten(0, 1)[:, seen]).view(rows, heads, width)
        return mixed[self.rows_M] if self.everyone else mixed


class _Block(nn.Module):
    """Attention and feed-forward, each added to a normalised input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = Linear(width, config.mlp_ratio * width)
        self.down = Linear(config.mlp_ratio * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def project(self, x_MD: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, [M, heads, head width]; the first two turned by position."""
        parts = self.qkv(self.attention_norm(x_MD)).chunk(3, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        return _rotate(query, turn), _rotate(key, turn), value

    def add(self, x_MD: Tensor, mixed_MHW: Tensor) -> Tensor:
        """The block's output, from its input and what its attention mixed."""
        x_MD = x_MD + self.dropout(self.out(mixed_MHW.flatten(1)))
        hidden = functional.gelu(self.up(self.mlp_norm(x_MD)))
        output: Tensor = x_MD + self.dropout(self.down(hidden))
        return output


def _rotate(x_MHW: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of units by its position's angle (Su et al. 2021, RoFormer)."""
    cos, sin = turn
    a, b = x_MHW.chunk(2, dim=2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=2)
