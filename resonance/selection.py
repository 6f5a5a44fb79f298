"""Which frequencies to keep: learned, or by the energy of each batch.

After training `SelectiveMixing.frozen()` is the plain `BandMixing` on the chosen set.  `04_information` compares them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import BandMixing
from .settings import WithSettings, placed


def top_mask(score: Tensor, k: int) -> Tensor:
    """1 at the k largest scores and 0 elsewhere."""
    return torch.zeros_like(score).index_fill(0, score.topk(k).indices, 1.0)


class Selection(WithSettings):
    """Keep k of the candidate frequencies: a spectrum (batch, candidates, d), as re and im, to a mask (candidates,).

    Returns the mask and its relaxation, or None.  Raises ValueError unless 1 <= k <= candidates.
    """

    defines = ("k",)

    def __init__(self, candidates: int, k: int):
        super().__init__()
        if not 1 <= k <= candidates:
            raise ValueError(f"expected to keep 1 .. {candidates} of {candidates} candidate frequencies, got {k}")
        self.k = k


class LearnedSelection(Selection):
    """Keep the k frequencies with the largest scores; the scores train by a straight-through gradient (eq:selection).

    Forward: a mask of ones and zeros.  Backward: as if the whole layer had used the relaxed top-k
    sigmoid((s_f - tau) / temperature), tau half-way between the k-th and the next score (straight-through estimator:
    Bengio, Leonard, Courville 2013), so that a frequency left out can still enter.
    Parameters: one score for each candidate.
    """

    @placed
    def __init__(self, candidates: int, k: int, *, temperature: float = 0.1, device=None, dtype=None):
        super().__init__(candidates, k)
        if not temperature > 0:
            raise ValueError(f"expected temperature > 0, got {temperature}")
        self.temperature = temperature
        self.score = nn.Parameter(0.01 * torch.randn(candidates))

    def forward(self, re: Tensor, im: Tensor) -> tuple[Tensor, Tensor | None]:
        hard = top_mask(self.score.detach(), self.k)
        if self.k == len(self.score):
            return hard, None
        threshold = self.score.topk(self.k + 1).values[-2:].mean()
        return hard, torch.sigmoid((self.score - threshold) / self.temperature)


class EnergySelection(Selection):
    """Keep the k frequencies with the most energy, summed over batch and channels; the choice has no gradient."""

    def forward(self, re: Tensor, im: Tensor) -> tuple[Tensor, None]:
        return top_mask((re.detach().square() + im.detach().square()).sum(dim=(0, 2)), self.k), None


class SelectiveMixing(BandMixing):
    """`BandMixing` whose frequencies are weighted by a selection before and after the weights and the interference.

        y = S P M W P A x        (eq:selection; P the mask)

    x: (batch, n, dim) -> (batch, n, dim).  `selection`: as `Selection`; `options`: those of `BandMixing`.
    Cost: that of all candidates, until `frozen`.

    >>> mixing, x = SelectiveMixing(4, LearnedSelection(8, k=3), 8), torch.randn(2, 16, 4)
    >>> torch.allclose(mixing.frozen()(x), mixing(x), atol=1e-5)
    True
    """

    @placed
    def __init__(
        self, dim: int, selection: nn.Module, num_frequencies: int | None = None, *, device=None, dtype=None, **options
    ):
        super().__init__(dim, num_frequencies, **options)
        self.selection = selection

    def mix(self, spectrum: Tensor) -> Tensor:
        """P M W P applied to a spectrum (batch, 2 candidates, dim), P the selection."""
        mask, relaxed = self.selection(*spectrum.chunk(2, dim=1))  # (candidates,) each
        if mask.shape != (self.num_frequencies,):
            raise ValueError(f"expected a selection of {self.num_frequencies} frequencies, got {tuple(mask.shape)}")
        hard = self._masked(spectrum, mask)
        if relaxed is None or not torch.is_grad_enabled():
            return hard
        soft = self._masked(spectrum, relaxed)
        return soft + (hard - soft).detach()

    def _masked(self, spectrum: Tensor, mask: Tensor) -> Tensor:
        keep = mask.to(spectrum.dtype).repeat(2)[:, None]  # (2 candidates, 1)
        return super().mix(spectrum * keep) * keep

    @torch.no_grad()
    def frozen(self, x: Tensor | None = None) -> BandMixing:
        """A plain `BandMixing` on the frequencies chosen now: the same map, at the cost of k frequencies.

        An `EnergySelection` depends on its input: pass a batch x, (batch, n, dim).
        """
        if x is None and isinstance(self.selection, EnergySelection):
            raise ValueError("an EnergySelection chooses by the batch: expected x of (batch, n, dim), got none")
        spectrum = (torch.empty(0),) * 2 if x is None else self.encode(x).chunk(2, dim=1)
        chosen = self.selection(*spectrum)[0].nonzero().flatten()  # (k,)
        kept, options = [self.frequencies[i] for i in chosen.tolist()], {"engine": self.engine, "window": self.window}
        mixing = BandMixing(self.dim, frequencies=kept, interference=self.interference is not None, **options)
        mixing = mixing.to(self.weight.magnitude)
        for part, own in zip(mixing.weight.polar(), self.weight.polar(), strict=True):
            part.copy_(own[chosen])
        if self.interference is not None:
            for part, own in zip(mixing.interference.pair(), self.interference.pair(), strict=True):
                part.copy_(own[chosen][:, chosen])
        return mixing
