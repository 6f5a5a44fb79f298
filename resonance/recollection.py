"""How a model reads its holographic memory: a cue lights it, the answer is sharpened, and lights it again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import HolographicMemory


class Recollection(nn.Module):
    """Read from a memory what a cue c reminds of: r = sum_i a_i P_i / rms(P_i), in two passes of light.

        a = softmax over (tau; cos(c, P_1), ..., cos(c, P_N)), each times beta; tau's share recalls nothing

    The first pass illuminates the hologram with the cue and finds its inner products on the carriers, the second with
    the references weighted by a.  This is a step of a modern Hopfield network (Ramsauer et al. 2021), an attention of
    the cue over stored patterns; no token is compared with another.  An empty memory recalls exactly 0, and so, nearly,
    does a cue whose cosine with every pattern stays below tau.  Cosines and rms make it blind to the patterns' sizes.
    cue: (batch, dim) -> (batch, dim), differentiable in the cue, in beta (kept as its logarithm) and in tau.
    Parameters: 2.  Cost: as `HolographicMemory.correlate` and `superpose`.
    """

    def __init__(self):
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(16.0)))  # log beta
        self.threshold = nn.Parameter(torch.tensor(0.5))  # tau: below the cosine of a pattern with one half of it

    def forward(self, memory: HolographicMemory, cue: Tensor) -> Tensor:
        """Return what is recalled, (batch, dim), for cues (batch, dim)."""
        energy = memory.energy.to(memory.dtype)
        rms = (energy / memory.dim).sqrt().masked_fill(energy == 0, 1.0)
        return memory.superpose(self.weights(memory, cue) / rms).to(cue.dtype)

    def weights(self, memory: HolographicMemory, cue: Tensor) -> Tensor:
        """Return a, (batch, capacity): not negative, 0 on free carriers, at most 1 in sum."""
        inner = memory.correlate(cue)
        free = memory.index.age == 0
        size = cue.to(inner.dtype).norm(dim=-1, keepdim=True) * memory.energy.to(inner.dtype).sqrt()
        nothing = size < torch.finfo(inner.dtype).tiny  # a cue or a pattern of zeros is like nothing
        cosine = inner.masked_fill(nothing, 0.0) / size.masked_fill(nothing, 1.0)
        logits = torch.cat([self.threshold.expand(len(cosine), 1), cosine], dim=1) * self.log_sharpness.exp()
        # After beta, whose gradient would be 0 times infinity.
        logits = logits.masked_fill(F.pad(free, (1, 0)), -math.inf)
        return F.softmax(logits, dim=1)[:, 1:]
