"""Peers to be measured against, each at its best: a Transformer with fused attention, FNet, ridge and DLinear."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .forecasting import Windows, evaluate
from .training import PolarTrainer


class TransformerEncoder(nn.Module):
    """Sequence to sequence: projection, pre-norm Transformer layers from torch with fused attention, projection.

    (batch, n, input_dim) -> (batch, n, output_dim).  Sinusoidal positions (Vaswani et al. 2017).
    Cost a layer: 2 n^2 d multiply-adds for attention and 12 n d^2 beside it.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        *,
        output_dim: int | None = None,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(
            transformer_layer(hidden_dim, num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input_projection(x)
        h = h + sinusoidal_positions(h.shape[1], h.shape[2], like=h)
        for layer in self.layers:
            h = layer(h)
        return self.output_projection(self.norm(h))


def transformer_layer(dim: int, num_heads: int = 4, *, dropout: float = 0.0) -> nn.TransformerEncoderLayer:
    """Return torch's encoder layer as it is strongest: pre-norm, GELU, 4x feed-forward, fused attention.

    Dropout acts on the residual branches and the feed-forward, not inside attention: there it would turn the fused
    kernel off on CPUs.
    """
    layer = nn.TransformerEncoderLayer(
        dim, num_heads, 4 * dim, dropout, activation=F.gelu, batch_first=True, norm_first=True
    )
    layer.self_attn.dropout = 0.0
    return layer


class FeedForward(nn.Module):
    """x + W_2 gelu(W_1 LayerNorm(x)), 4x wide: the part that a Transformer layer has beside its attention."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.gelu(self.widen(self.norm(x))))


class FNetLayer(nn.Module):
    """h = LayerNorm(x + Re FFT2(x)), then LayerNorm(h + feed-forward): as published (Lee-Thorp et al. 2022).

    FFT2 is the unnormalised transform over the sequence and the channels; it has no parameters.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.mixing_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.mixing_norm(x + torch.fft.fft2(x).real)
        return self.norm(h + self.narrow(F.gelu(self.widen(h))))


class FNetEncoder(nn.Module):
    """Sequence to sequence: projection with sinusoidal positions, FNet layers, projection.

    (batch, n, input_dim) -> (batch, n, output_dim).
    """

    def __init__(self, input_dim: int, hidden_dim: int = 256, num_layers: int = 4, *, output_dim: int | None = None):
        super().__init__()
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(FNetLayer(hidden_dim) for _ in range(num_layers))
        self.output_projection = nn.Linear(hidden_dim, output_dim or input_dim)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input_projection(x)
        h = h + sinusoidal_positions(h.shape[1], h.shape[2], like=h)
        for layer in self.layers:
            h = layer(h)
        return self.output_projection(h)


def sinusoidal_positions(n: int, dim: int, *, like: Tensor) -> Tensor:
    """Return (n, dim) sines and cosines of geometrically spaced periods, in the dtype and place of `like`."""
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10000.0) / dim))
    angle = torch.outer(torch.arange(n, dtype=torch.float64), rates)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim].to(like)


class Ridge:
    """Closed-form linear forecast, one map for all channels: future - level = B (past - level).

    B = argmin sum |Y - B X|^2 + ridge |B|^2 over every training window and channel; level is the past's mean.
    Parameters: horizon x lookback.  Cost: windows x channels x lookback (lookback + horizon) multiply-adds.
    """

    def __init__(self, windows: Windows, ridge: float):
        self.lookback = windows.lookback
        past_past = torch.zeros(windows.lookback, windows.lookback, dtype=torch.float64)
        future_past = torch.zeros(windows.horizon, windows.lookback, dtype=torch.float64)
        for past, future in windows.batches(512):
            level = past.mean(dim=1, keepdim=True)
            x = (past - level).double().movedim(1, 0).flatten(1)
            y = (future - level).double().movedim(1, 0).flatten(1)
            past_past += x @ x.T
            future_past += y @ x.T
        past_past.diagonal().add_(ridge)
        self.matrix = torch.linalg.solve(past_past, future_past, left=False).float()

    def __call__(self, past: Tensor) -> Tensor:
        """Return (batch, horizon, channels) from the past (batch, lookback, channels)."""
        level = past.mean(dim=1, keepdim=True)
        return level + self.matrix @ (past - level)


class DLinear(nn.Module):
    """Trend and remainder, each forecast by one linear map shared by the channels (Zeng et al., AAAI 2023).

    The trend is a moving average over 25 steps, ends repeated.  (batch, lookback, channels) -> (batch, horizon,
    channels).  Parameters: 2 horizon (lookback + 1).
    """

    def __init__(self, lookback: int, horizon: int, kernel: int = 25):
        super().__init__()
        self.kernel = kernel
        self.trend = nn.Linear(lookback, horizon)
        self.remainder = nn.Linear(lookback, horizon)
        for part in (self.trend, self.remainder):  # the published start: each output the mean of the past
            nn.init.constant_(part.weight, 1.0 / lookback)

    def forward(self, past: Tensor) -> Tensor:
        x = past.transpose(1, 2)  # (batch, channels, lookback)
        trend = F.avg_pool1d(F.pad(x, (self.kernel // 2, self.kernel // 2), mode="replicate"), self.kernel, stride=1)
        return (self.trend(trend) + self.remainder(x - trend)).transpose(1, 2)


def fit_dlinear(
    train: Windows, validation: Windows, *, rate: float, epochs: int, seed: int, batch: int = 32
) -> tuple[DLinear, float, float]:
    """Train a DLinear with Adam on squared error; return it as validation prefers it, its rate, its validation MSE."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = DLinear(train.lookback, train.horizon)
    trainer = PolarTrainer(model, rate, rate, gradient_clip=None)
    history = trainer.fit(
        lambda epoch: train.batches(batch, generator), epochs, lambda candidate: evaluate(candidate, validation)[0]
    )
    return model, rate, history.validation[history.best_epoch]


class SeasonalNaive:
    """Repeat the last full period of the past: the forecast that costs nothing."""

    def __init__(self, horizon: int, period: int):
        self.horizon, self.period = horizon, period

    def __call__(self, past: Tensor) -> Tensor:
        """Return (batch, horizon, channels) from the past (batch, lookback >= period, channels)."""
        cycle = past[:, -self.period :]
        return cycle.repeat(1, math.ceil(self.horizon / self.period), 1)[:, : self.horizon]
