"""A photograph stored among hundreds in one real hologram, read back through noise, coarse pixels and missing ones.

The pictures are crops of the two photographs that scikit-learn carries with it; nothing is downloaded.  Grey levels
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
    """Return two photographs as grey levels in -1 .. 1, (height, width) each: a temple and a flower."""
    from sklearn.datasets import load_sample_image

    weights = torch.tensor([0.299, 0.587, 0.114])
    names = ("china.jpg", "flower.jpg")
    return [torch.from_numpy(load_sample_image(name).copy()).float() @ weights / 127.5 - 1 for name in names]


def pictures(count: int, size: int, *, seed: int) -> Tensor:
    """Return `count` square pictures (count, size^2): the temple, then random crops, some mirrored."""
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
    """Pictures in one `HolographicMemory`, the hologram as it was recorded, and one picture to look at."""

    def __init__(self, images: Tensor, aperture: int, *, seed: int):
        self.images, self.generator = images, generator_of(seed)
        self.memory = HolographicMemory(images.shape[1], len(images), aperture=aperture)
        self.memory.encode(images)
        self.recorded = self.memory.hologram.clone()
        self.fringe_power = self.memory.fringes.square().mean().item()

    def read(self, hologram: Tensor) -> Tensor:
        """Return all pictures, (N, dim), as a memory reads them from another hologram."""
        self.memory.set_hologram(hologram)
        return self.memory.reconstruct(self.memory.keys())

    def noisy(self, snr: float) -> Tensor:
        """Return what is read at a ratio `snr` of the power of fringes to that of white noise.

        Expected error sqrt(N / (A snr)) of the pictures' power: real pictures take half a carrier each.
        """
        noise = torch.randn(self.recorded.shape, generator=self.generator)
        return self.read(self.recorded + noise * math.sqrt(self.fringe_power / snr))

    def coarse(self, bits: int) -> Tensor:
        """Return what is read from a hologram of `bits` a pixel."""
        return self.read(quantise(self.recorded, bits))

    def erased(self, share: float) -> Tensor:
        """Return what is read when a random share of all pixels is lost, and taken for the mean of its row.

        What is left is brighter by 1/(1 - share); the lost fringes are noise at snr (1 - share)/share.
        """
        kept = torch.rand(self.recorded.shape, generator=self.generator) >= share
        mean = (self.recorded * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
        return self.read(torch.where(kept, self.recorded, mean)) / (1 - share)

    def solved(self, share: float) -> Tensor:
        """Return what least squares reads when a random share of the columns is lost and it is known which.

        Exact while more columns are left than there are pictures.
        """
        aperture, n = self.recorded.shape[1], len(self.images)
        left = torch.randperm(aperture, generator=self.generator)[round(share * aperture) :].sort().values
        re, im = plane_waves(range(1, (n + 1) // 2 + 1), aperture, torch.float64)
        waves = 2 * torch.stack([re, im], dim=1).flatten(0, 1)[:n]
        design = torch.cat([torch.ones(1, aperture, dtype=torch.float64), waves])[:, left]
        return torch.linalg.lstsq(design.mT, self.recorded[:, left].double().mT).solution[1:].float()

    def traced(self) -> Tensor:
        """Return what one FHRR trace of the pictures reads, its real part scaled for the least error."""
        keys = PhasorTrace(random_phasors(*self.images.shape, self.generator))
        read = keys.read(keys.record((self.images, torch.zeros_like(self.images))))[0]
        return read * ((read * self.images).sum() / read.square().sum())


def recall_pictures(
    count: int, size: int, aperture: int, *, snrs: list[float], bits: int, shares: list[float], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the first picture as each reading shows it (grey 0 .. 255, a column each), and the errors over all.

    The second table has columns panel, error (over all pictures), law (NaN where there is none).
    """
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
    errors = [{"panel": name, "error": relative_error(read, images), "law": law} for name, read, law in panels]
    return pd.DataFrame(grey), pd.DataFrame(errors)
