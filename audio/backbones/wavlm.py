"""WavLM's attention: gated relative positions. Everything else in WavLM is wav2vec 2.0.

Unlike torchaudio's, the query, key and value projections are modules of their own, so that a low-rank adapter
can sit on each of them, and padding can be masked.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Self-attention whose scores get a gated bias by distance (Chen et al. 2022, WavLM, equations 4 to 7).

    `rel_attn_embed` holds one bias for each bucket of distances and each head. Only the first layer of a
    network has it; all layers use its values, each with a gate of its own.
    """

    def __init__(
        self, embed_dim: int, heads: int, dropout: float, buckets: int, max_distance: int, *, embeds: bool
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = heads
        self.head_dim = embed_dim // heads
        self.dropout = dropout
        self.buckets = buckets
        self.max_distance = max_distance
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        self.gru_rel_pos_linear = nn.Linear(self.head_dim, 8)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.rel_attn_embed = nn.Embedding(buckets, heads) if embeds else None

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The signature that `EncoderLayer` calls.

        x: (batch, time, channels). attention_mask: True where a key may be attended to, broadcast to
        (batch, heads, time, time). position_bias: (heads, time, time), as `relative_bias` of the first layer
        gives it. Returns the attended (batch, time, channels), and the bias.
        """
        batch, time, _ = x.shape
        heads = (batch, time, self.num_heads, self.head_dim)
        scores = None if position_bias is None else self._gate(x.view(heads).transpose(1, 2)) * position_bias
        if scores is None:
            scores = attention_mask
        elif attention_mask is not None:
            scores = scores.masked_fill(~attention_mask, float("-inf"))
        attended = nn.functional.scaled_dot_product_attention(
            self.q_proj(x).view(heads).transpose(1, 2),
            self.k_proj(x).view(heads).transpose(1, 2),
            self.v_proj(x).view(heads).transpose(1, 2),
            attn_mask=scores,
            dropout_p=self.dropout if self.training else 0.0,
        )
        output: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, time, -1))
        return output, position_bias

    def _gate(self, queries: Tensor) -> Tensor:
        """How strongly each query position minds distance: (batch, heads, time, head_dim) -> (…, time, 1)."""
        batch, heads, time, _ = queries.shape
        halves = self.gru_rel_pos_linear(queries).view(batch, heads, time, 2, 4).sum(-1).sigmoid()
        update, reset = halves.chunk(2, dim=-1)
        gate: Tensor = update * (reset * self.gru_rel_pos_const - 1.0) + 2.0
        return gate

    def relative_bias(self, time: int) -> Tensor:
        """The bias of every head for every query and key: (heads, time, time). Only in the first layer."""
        if self.rel_attn_embed is None:
            raise ValueError("only the first layer holds the relative position embedding")
        distances = torch.arange(1 - time, time)
        buckets = distance_buckets(distances, self.buckets, self.max_distance)
        if torch.compiler.is_exporting():
            steps = torch.arange(time)
            every = distance_buckets(steps[None] - steps[:, None], self.buckets, self.max_distance)
            bias: Tensor = self.rel_attn_embed(every).permute(2, 0, 1)
            return bias  # a graph cannot hold windows of which the size is not known
        by_distance: Tensor = self.rel_attn_embed(buckets.to(self.rel_attn_embed.weight.device, non_blocking=True)).T
        # Entry (query, key) is that of distance key - query: each row is the one above, shifted by one.
        return by_distance.unfold(1, time, 1).flip(1)


def distance_buckets(distances: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Which embedding a distance key - query (any shape, int64) uses, from 0 to buckets - 1.

    Half of the buckets is for keys that come later. Of each half, the first half counts single steps, the
    rest grows with the logarithm up to `max_distance`. Computed on the CPU always, because a logarithm
    rounded otherwise would move a distance into the next bucket.
    """
    half = buckets // 2
    exact = half // 2
    steps = distances.abs()
    growth = torch.log(steps.float() / exact) / math.log(max_distance / exact) * (half - exact)
    # The logarithm of 0 is not finite; those entries are replaced below, but must survive the cast.
    far = (exact + growth.clamp(min=0.0).long()).clamp(max=half - 1)
    return (distances > 0).long() * half + torch.where(steps < exact, steps, far)
