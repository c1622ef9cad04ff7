"""SeqGAN's generator update in a loop: the baselines of `seqgan_update`.

For each completion and each prefix length a pass over the batch: nn.LSTMCell, softmax and
multinomial, and the discriminator on what comes out. Older codebases compute more in a pass than it
needs; what SeqGAN-PyTorch (Zi Jian Zhao) does is an option here. The discriminator has two forms,
which say the same: nn.Conv2d over [B, 1, L, E] with kernels as wide as the embedding and a maximum
by pooling, as those codebases have it, and nn.Conv1d over [B, E, L]. All products are torch's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators import SequenceCNN
from rubout.policies.lstm import LSTMPolicy

Judge = Callable[[Tensor], Tensor]


class Conv1dJudge:
    """D(x) of tokens [B, L], L the longest there is, by the modules of one of our networks."""

    def __init__(self, network: SequenceCNN) -> None:
        self.network = network

    def __call__(self, tokens_BL: Tensor) -> Tensor:
        """Float32 [B]."""
        features_BF = self.convolved(self.network.embedding(tokens_BL))
        gate, transform = self.network.gate, self.network.transform
        gate_BF = torch.sigmoid(functional.linear(features_BF, gate.weight, gate.bias))
        changed_BF = torch.relu(functional.linear(features_BF, transform.weight, transform.bias))
        mixed_BF = gate_BF * changed_BF + (1 - gate_BF) * features_BF
        return torch.sigmoid(self.network.out(mixed_BF)).squeeze(1)

    def convolved(self, embedded_BLE: Tensor) -> Tensor:
        """The largest output of each filter, [B, F]."""
        given_BEL = embedded_BLE.transpose(1, 2)
        maxima = [torch.relu(layer(given_BEL)).amax(2) for layer in self.network.convolutions]
        return torch.cat(maxima, dim=1)


class Conv2dJudge(Conv1dJudge):
    """The same weights in convolutions of two dimensions."""

    def __init__(self, network: SequenceCNN) -> None:
        super().__init__(network)
        self.layers = []
        for narrow in network.convolutions:
            count, width = narrow.weight.shape[0], narrow.weight.shape[1]
            layer = nn.Conv2d(1, count, (narrow.weight.shape[2], width))
            with torch.no_grad():
                layer.weight.copy_(narrow.weight.transpose(1, 2).unsqueeze(1))
                layer.bias.copy_(narrow.bias)
            self.layers.append(layer)

    def convolved(self, embedded_BLE: Tensor) -> Tensor:
        """See `Conv1dJudge.convolved`."""
        given_B1LE = embedded_BLE.unsqueeze(1)
        pooled = []
        for layer in self.layers:
            output_BFP1 = torch.relu(layer(given_B1LE))
            pooled.append(functional.max_pool2d(output_BFP1, (output_BFP1.shape[2], 1)))
        return torch.cat(pooled, dim=1).flatten(1)


class Loop:
    """The update, of an LSTM of one layer as wide as its embedding.

    Args:
        policy: the generator.
        judge: the discriminator.
        in_vain: whether to take the softmax behind every given token too, and after the last token
            to step once more and draw what nobody reads, as SeqGAN-PyTorch does. (TextGAN-PyTorch
            does all but the draw. That both judge full sequences once a completion is left out.)
    """

    def __init__(self, policy: LSTMPolicy, judge: Judge, *, in_vain: bool = False) -> None:
        self.policy, self.judge, self.in_vain = policy, judge, in_vain
        self.hidden = policy.config.hidden
        self.cell = nn.LSTMCell(self.hidden, self.hidden)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for name, weight in zip(names, policy.lstm.all_weights[0], strict=True):
            setattr(self.cell, name, weight)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)

    def update(self, batch: int, completions: int) -> Tensor:
        """One generator update; the action values [B, T]."""
        length = self.policy.space.max_length
        with torch.no_grad():
            tokens_BT = self.complete(torch.zeros(batch, 0, dtype=torch.int64))
            values_BT = torch.zeros(batch, length)
            for _ in range(completions):
                for given in range(1, length):
                    values_BT[:, given - 1] += self.judge(self.complete(tokens_BT[:, :given]))
            values_BT /= completions
            values_BT[:, -1] = self.judge(tokens_BT)
        loss = -(values_BT * self.log_probs(tokens_BT)).sum()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), 5.0)
        self.optimizer.step()
        return values_BT

    def complete(self, given_BP: Tensor) -> Tensor:
        """Feed what is given, then draw the rest."""
        space = self.policy.space
        batch, kept = given_BP.shape
        h = c = torch.zeros(batch, self.hidden)
        token_B = torch.full((batch,), space.start_id)
        tokens = []
        for place in range(space.max_length + self.in_vain):
            h, c = self.cell(self.policy.embedding(token_B), (h, c))
            if place >= kept or self.in_vain:
                probs_BV = torch.softmax(self.policy.head(h), dim=1)
            if place < kept:
                token_B = given_BP[:, place]
            else:
                token_B = torch.multinomial(probs_BV, 1).squeeze(1)
            tokens.append(token_B)
        return torch.stack(tokens[: space.max_length], dim=1)

    def log_probs(self, tokens_BT: Tensor) -> Tensor:
        """Of each token, [B, T]."""
        h = c = torch.zeros(len(tokens_BT), self.hidden)
        token_B = torch.full((len(tokens_BT),), self.policy.space.start_id)
        found = []
        for place in range(tokens_BT.shape[1]):
            h, c = self.cell(self.policy.embedding(token_B), (h, c))
            token_B = tokens_BT[:, place]
            scores_BV = torch.log_softmax(self.policy.head(h), dim=1)
            found.append(scores_BV.gather(1, token_B.unsqueeze(1)))
        return torch.cat(found, dim=1)
