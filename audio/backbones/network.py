"""The modules of wav2vec 2.0 and its kin (Baevski et al. 2020), with the names of tensors that torchaudio has for them.

What runs them is in `wav2vec2`, so that padding reaches no clip; none but the small ones has a forward of its own.
"""

from __future__ import annotations

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of signals (batch, channels, time)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(-2, -1)).transpose(-2, -1)


class Convolution(nn.Module):
    """One convolution over time, and the norm behind it, if there is one."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, bias: bool, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel, stride
        self.layer_norm = norm
        self.conv = nn.Conv1d(in_channels, channels, kernel, stride, bias=bias)


class FeatureExtractor(nn.Module):
    """norm: "group" is a GroupNorm over time behind the first convolution, "layer" one over channels behind each.
    shapes: (channels, kernel, stride) of every convolution."""

    def __init__(self, norm: str, shapes: tuple[tuple[int, int, int], ...], bias: bool) -> None:
        super().__init__()
        blocks, before = [], 1
        for index, (channels, kernel, stride) in enumerate(shapes):
            own: nn.Module | None = ChannelNorm(channels) if norm == "layer" else None
            if norm == "group" and index == 0:
                own = nn.GroupNorm(channels, channels)
            blocks.append(Convolution(before, channels, kernel, stride, bias, own))
            before = channels
        self.conv_layers = nn.ModuleList(blocks)


class FeatureProjection(nn.Module):
    """(batch, frames, channels) -> (batch, frames, hidden)."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm: nn.Module = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.dropout(self.projection(self.layer_norm(x)))
        return projected


class PositionalConvolution(nn.Module):
    """What a convolution says of the positions of (batch, frames, hidden), to the same shape."""

    def __init__(self, hidden: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=groups)
        self.conv = nn.utils.parametrizations.weight_norm(conv, name="weight", dim=2)
        self.embed_dim, self.num_remove = hidden, 1 if kernel % 2 == 0 else 0

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x.transpose(-2, -1))
        if self.num_remove > 0:
            found = found[..., : -self.num_remove]
        return nn.functional.gelu(found).transpose(-2, -1)


class SelfAttention(nn.Module):
    """(batch, frames, hidden) to the same. attention_mask: True where a key may be attended to."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = hidden, heads, hidden // heads
        self.dropout = dropout
        self.k_proj = nn.Linear(hidden, hidden)
        self.v_proj = nn.Linear(hidden, hidden)
        self.q_proj = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(
        self, x: Tensor, attention_mask: Tensor | None = None, position_bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """position_bias: of WavLM alone, whose attention has the same signature."""
        batch, frames, _ = x.shape
        heads = (batch, frames, self.num_heads, self.head_dim)
        query, key, value = (layer(x).view(heads).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj))
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=self.dropout if self.training else 0.0
        )
        output: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, frames, -1))
        return output, None


class FeedForward(nn.Module):
    """(batch, frames, hidden) to the same."""

    def __init__(self, hidden: int, width: int, inner_dropout: float, dropout: float) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(hidden, width)
        self.intermediate_dropout = nn.Dropout(inner_dropout)
        self.output_dense = nn.Linear(width, hidden)
        self.output_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.intermediate_dropout(nn.functional.gelu(self.intermediate_dense(x)))
        output: Tensor = self.output_dropout(self.output_dense(inner))
        return output


class EncoderLayer(nn.Module):
    """norm_first: the norms stand before attention and feed-forward, not behind."""

    def __init__(
        self, attention: SelfAttention, feed_forward: FeedForward, dropout: float, *, norm_first: bool
    ) -> None:
        super().__init__()
        self.attention: nn.Module = attention
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(attention.embed_dim)
        self.layer_norm_first = norm_first
        self.feed_forward = feed_forward
        self.final_layer_norm = nn.LayerNorm(attention.embed_dim)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, position_bias: Tensor | None = None) -> Tensor:
        """(batch, frames, hidden) to the same; attention_mask and position_bias as its attention takes them."""
        given = self.layer_norm(x) if self.layer_norm_first else x
        attended, _ = self.attention(given, attention_mask=attention_mask, position_bias=position_bias)
        x = x + self.dropout(attended)
        if self.layer_norm_first:
            found: Tensor = x + self.feed_forward(self.final_layer_norm(x))
        else:
            x = self.layer_norm(x)
            found = self.final_layer_norm(x + self.feed_forward(x))
        return found


class Transformer(nn.Module):
    """norm_first: of its layers; one norm more then follows the last, else it stands before the first."""

    def __init__(
        self, position: PositionalConvolution, layers: nn.ModuleList, hidden: int, dropout: float, layer_drop: float,
        *, norm_first: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pos_conv_embed = position
        self.layer_norm = nn.LayerNorm(hidden)
        self.norm_first, self.layer_drop = norm_first, layer_drop
        self.dropout = nn.Dropout(dropout)
        self.layers = layers


class Encoder(nn.Module):
    """The projection of the extractor's frames, and the Transformer."""

    def __init__(self, projection: FeatureProjection, transformer: Transformer) -> None:
        super().__init__()
        self.feature_projection = projection
        self.transformer = transformer


class SpeechNetwork(nn.Module):
    """Everything; `wav2vec2.frame_stages` run it."""

    def __init__(self, feature_extractor: FeatureExtractor, encoder: Encoder) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.encoder = encoder
