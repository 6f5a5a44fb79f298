"""A photograph stored among hundreds in one real hologram, read with noise, coarse pixels and missing ones.

The pictures are crops of the two photographs shipped with scikit-learn; nothing is downloaded.  Grey levels
run from -1 to 1, a pattern is a picture row by row.
"""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from artifact.studies.holographic_capacity.capacity import generator_of, quantise, relative_error
from artifact.studies.holographic_capacity.holography import PhasorTrace, plane_waves, random_phasors
from resonance.memory import HolographicMemory


def photographs() -> list[Tensor]:
    """Two photographs as grey levels in -1 .. 1, (height, width) each: a temple and a flower."""
    from sklearn.datasets import load_sample_image

    weights = torch.tensor([0.299, 0.587, 0.114])
    names = ("china.jpg", "flower.jpg")
    return [torch.from_numpy(load_sample_image(name).copy()).float() @ weights / 127.5 - 1 for name in names]


def pictures(count: int, size: int, *, seed: int) -> Tensor:
    """Draw `count` square pictures (count, size^2): the temple, then random crops, some mirrored."""
    generator = generator_of(seed)
    shots = photographs()
    side = min(shots[0].shape)
    crops = [shots[0][:side, 100 : 100 + side]]
    for i in range(1, count):
        shot = shots[i % 2]
        edge = int(torch.randint(size, min(shot.shape) + 1, (), generator=generator))
        top, left = (int(torch.randint(0, n - edge + 1, (), generator=generator)) for n in shot.shape)
        crop = shot[top : top + edge, left : left + edge]
        crops.append(crop.flip(1) if i % 4 > 1 else crop)
    small = [torch.nn.functional.interpolate(c[None, None], (size, size), mode="area").flatten() for c in crops]
    return torch.stack(small)


class Album:
    """Pictures in one `HolographicMemory`, and the hologram as it was recorded."""

    def __init__(self, images: Tensor, aperture: int, *, seed: int):
        self.images, self.generator = images, generator_of(seed)
        self.memory = HolographicMemory(images.shape[1], len(images), aperture=aperture)
        self.memory.encode(images)
        self.recorded = self.memory.hologram.clone()
        self.fringe_power = self.memory.fringes.square().mean().item()

    def read(self, hologram: Tensor) -> Tensor:
        """All pictures, (N, dim), read from another hologram."""
        self.memory.set_hologram(hologram)
        return self.memory.reconstruct(self.memory.keys())

    def noisy(self, snr: float) -> Tensor:
        """Read with white noise at an SNR of the fringes: error sqrt(N / (A snr)), half a carrier a real picture."""
        noise = torch.randn(self.recorded.shape, generator=self.generator)
        return self.read(self.recorded + noise * math.sqrt(self.fringe_power / snr))

    def coarse(self, bits: int) -> Tensor:
        """Read from a hologram of `bits` a pixel."""
        return self.read(quantise(self.recorded, bits))

    def erased(self, share: float) -> Tensor:
        """Read with a random share of all pixels lost and replaced by the mean of its row.

        The result is scaled by 1/(1 - share); the lost fringes act as noise at snr (1 - share)/share.
        """
        kept = torch.rand(self.recorded.shape, generator=self.generator) >= share
        mean = (self.recorded * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
        return self.read(torch.where(kept, self.recorded, mean)) / (1 - share)

    def solved(self, share: float) -> Tensor:
        """Read by least squares with a random, known share of the columns lost: exact while enough are left."""
        aperture, n = self.recorded.shape[1], len(self.images)
        left = torch.randperm(aperture, generator=self.generator)[round(share * aperture) :].sort().values
        re, im = plane_waves(range(1, (n + 1) // 2 + 1), aperture, torch.float64)
        waves = 2 * torch.stack([re, im], dim=1).flatten(0, 1)[:n]
        design = torch.cat([torch.ones(1, aperture, dtype=torch.float64), waves])[:, left]
        return torch.linalg.lstsq(design.mT, self.recorded[:, left].double().mT).solution[1:].float()

    def traced(self) -> Tensor:
        """Read one FHRR trace of the pictures, its real part scaled for the least error."""
        keys = PhasorTrace(random_phasors(*self.images.shape, self.generator))
        read = keys.read(keys.record((self.images, torch.zeros_like(self.images))))[0]
        return read * ((read * self.images).sum() / read.square().sum())


def recall_pictures(
    count: int, size: int, aperture: int, *, snrs: list[float], bits: int, shares: list[float], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first picture in each reading (grey 0 .. 255, a column each); error over all pictures and its law, or NaN."""
    images = pictures(count, size, seed=seed)
    album = Album(images, aperture, seed=seed + 1)
    law = math.sqrt(count / aperture)
    panels = [("stored", images, 0.0), ("read back", album.read(album.recorded), 0.0)]
    panels += [(f"noise, SNR {snr:g}", album.noisy(snr), law / math.sqrt(snr)) for snr in snrs]
    panels += [(f"{bits} bits a pixel", album.coarse(bits), math.nan)]
    panels += [(f"{share:.0%} erased", album.erased(share), law * math.sqrt(share / (1 - share))) for share in shares]
    panels += [(f"{shares[-1]:.0%} erased, solved", album.solved(shares[-1]), 0.0)]
    panels += [("one FHRR trace", album.traced(), math.sqrt(1 - 2 / (count + 1)))]
    grey = {name: ((read[0] + 1) * 127.5).round().clamp(0, 255).int().tolist() for name, read, _ in panels}
    errors = [(name, relative_error(read, images), law) for name, read, law in panels]
    return pd.DataFrame(grey), pd.DataFrame(errors, columns=["panel", "error", "law"])
