"""Put a resonance mixing in the place of attention in torch's own Transformer encoder, and train it on a toy task.

The task: a sequence of noise with one of four slow waves in it; say which.
"""

import torch
from torch import nn

from resonance import BandMixing
from resonance.layers import AsSelfAttention

torch.manual_seed(0)
dim, n, classes = 32, 256, 4
encoder = nn.TransformerEncoder(
    nn.TransformerEncoderLayer(dim, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True, norm_first=True),
    num_layers=2,
    enable_nested_tensor=False,
)
for layer in encoder.layers:  # each layer its own mixing; everything else stays torch's
    layer.self_attn = AsSelfAttention(BandMixing(dim, num_frequencies=16, window=n))
model = nn.ModuleDict({"read": nn.Linear(1, dim), "encoder": encoder, "classify": nn.Linear(dim, classes)})


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    kind = torch.randint(classes, (size,))
    wave = torch.sin(2 * torch.pi * (kind[:, None] + 2) * torch.arange(n) / n + 6.3 * torch.rand(size, 1))
    return (wave + torch.randn(size, n))[..., None], kind


optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(60):
    x, kind = batch(32)
    loss = nn.functional.cross_entropy(model["classify"](encoder(model["read"](x)).mean(dim=1)), kind)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
x, kind = batch(500)
found = model["classify"](encoder(model["read"](x)).mean(dim=1)).argmax(dim=1)
print(f"accuracy on new sequences: {(found == kind).float().mean():.1%}, by chance {1 / classes:.1%}")
