"""The holographic memory: patterns on plane-wave references, recorded as intensities in one real hologram (eq:memory).

    glossary   code           report
               aperture       X, pixels along the reference
               hologram       H[y, x] = sum_i |P_i[y] + R_i[x]|^2
               background     the part of H that is constant in x, sum_i |P_i[y]|^2 + |R_i|^2
               fringes        the rest, sum_i 2 Re(P_i[y] conj(R_i[x]))
               carrier        f of the reference R_f[x] = e^{2 pi i f x / X}

Readout is (1/X) sum_x H[y, x] R_f[x].  The background is a DC term and vanishes for f != 0; the fringes of f give
P_f[y]; their twin, conj(P_f[y]), falls on carrier X - f, which therefore must stay free.

Capacity (thm:limit).  Complex patterns: of each pair {f, X - f} one carrier, neither DC nor X/2, which is its own twin:
(X - 1)//2.  Real patterns: the same carriers in two quadratures, P and iP', and for even X the carrier X/2: X - 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .keys import KeyIndex
from .settings import WithSettings, placed
from .spectral import analysis, synthesis, without_autocast


def capacity_of(aperture: int, *, complex_patterns: bool = False) -> int:
    """The number of patterns that a hologram of aperture X holds (thm:limit): (X-1)//2 complex ones, X-1 real ones."""
    return (aperture - 1) // 2 if complex_patterns else aperture - 1


class HolographicMemory(WithSettings):
    """A key-value store of patterns: intensities in one real hologram, one carrier a pattern, read exactly (eq:memory).

    A pattern has `dim` entries; real ones use the two quadratures of a carrier in turn.  `aperture`, X, is by default
    the smallest that holds `capacity` patterns, and ValueError is raised for one too small for them.
    Keys are whole numbers from 0 up, the next free one unless given.

    State: `fringes` (dim, X) and `background` (dim,), whose sum is H: stored separately, the rounding error of many
    exposures is smaller by the root of their number.  `energy` (capacity,), |P_i|^2; `index`, which carrier holds which
    key and since when.  Products are computed in float32 or float64.  The absolute error scales with the
    largest stored pattern, so patterns of small amplitude have a larger relative error.
    Cost: dim X reals.  Writing or reading m patterns is one product of (dim, X) with (X, m).  A plain table of the
    patterns is as small and faster: the hologram is an orthogonal transform of it.

    >>> memory, patterns = HolographicMemory(8, capacity=3), torch.randn(3, 8)
    >>> torch.allclose(memory.reconstruct(memory.encode(patterns)), patterns, atol=1e-5)  # by their keys
    True
    """

    defines = ("complex_patterns",)

    @placed
    def __init__(
        self, dim: int, capacity: int, *, complex_patterns=False, aperture: int | None = None, device=None, dtype=None
    ):
        super().__init__()
        if dim < 1 or capacity < 1:
            raise ValueError(f"expected dim >= 1 and capacity >= 1, got {dim} and {capacity}")
        aperture = capacity * (2 if complex_patterns else 1) + 1 if aperture is None else aperture
        most = capacity_of(aperture, complex_patterns=complex_patterns)
        if capacity > most:
            kind = "complex" if complex_patterns else "real"
            raise ValueError(f"an aperture of {aperture} pixels holds at most {most} {kind} patterns, got {capacity=}")
        self.dim, self.capacity, self.aperture, self.complex_patterns = dim, capacity, aperture, complex_patterns
        self.parts = 2 if complex_patterns else 1  # quadratures a pattern uses
        self.register_buffer("fringes", torch.zeros(dim, aperture))
        self.register_buffer("background", torch.zeros(dim))
        self.register_buffer("energy", torch.zeros(capacity))
        self.index = KeyIndex(capacity)

    @torch.no_grad()
    def encode(self, pattern, key=None, *, overwrite: str | None = None):
        """Record a pattern (dim,) or a batch (m, dim), torch or numpy; return its key, or the list of their keys.

        With overwrite="oldest" a full memory replaces its oldest patterns, else it raises RuntimeError.  ValueError for
        a wrong shape, entries that are not finite, keys in use; TypeError for a complex pattern in a real memory.
        """
        len(self)  # refuses the meta device
        patterns, single = self._patterns(pattern, "pattern")
        keys = self.index.choose(key, len(patterns), single)
        slots = self.index.room(len(keys), overwrite)
        self._record(slots, patterns[-len(slots) :])
        self.index.assign(slots, keys)
        return keys[0] if single else keys

    @torch.no_grad()
    def reconstruct(self, key=None) -> Tensor:
        """The pattern (dim,) of a key, by default the last written, or (m, dim) of m keys; KeyError, LookupError."""
        slots, single = self.index.find(self.index.last() if key is None else key)
        patterns = self._to_storage(self._read(slots))  # (m, dim)
        return patterns[0] if single else patterns

    @torch.no_grad()
    def forget(self, key) -> None:
        """Erase the pattern of a key, or of each of a sequence; KeyError, and nothing erased, for one not held."""
        slots = self.index.find(key)[0].unique()
        if len(slots) == len(self):
            self.clear()  # exactly zero, without rounding errors
        else:
            self._record(slots, None)
            self.index.age[slots] = 0

    @torch.no_grad()
    def clear(self) -> None:
        """Erase all patterns; new keys continue the old numbering."""
        for buffer in (self.fringes, self.background, self.energy, self.index.age):
            buffer.zero_()

    @torch.no_grad()
    def recall(self, cue, *, known=None):
        """(key, pattern) of the stored pattern nearest to a noisy or partial cue, in Euclidean distance.

        cue: (dim,), or (m, dim) for a list of keys and patterns (m, dim).  known: booleans of the cue's shape or of
        (dim,); entries where it is false are ignored.  Raises LookupError when the memory is empty, and as `encode`.
        Cost: O(dim X + X log X) a cue; a partial cue reads every pattern once.
        """
        if len(self) == 0:
            raise LookupError("the memory is empty: there is nothing to recall")
        energy, device = self.energy.to(self.dtype), self.fringes.device  # (capacity,)
        if known is not None:
            known, cue = torch.as_tensor(known, dtype=torch.bool, device=device), torch.as_tensor(cue, device=device)
            if known.shape not in (cue.shape, (self.dim,)):
                raise ValueError(f"expected known of ({self.dim},) or {tuple(cue.shape)}, got {tuple(known.shape)}")
            cue = cue.masked_fill(~known, 0.0)
        cues, single = self._patterns(cue, "cue")  # (m, dim)
        if known is not None:
            patterns = self._read(torch.arange(self.capacity, device=device))  # (capacity, dim)
            energy = known.to(energy.dtype) @ patterns.abs().square().T  # over the known entries: (m, capacity)
        distance = energy - 2.0 * self.correlate(cues)  # (m, capacity)
        nearest = distance.masked_fill(self.index.age == 0, math.inf).argmin(dim=-1)  # (m,)
        keys, patterns = self.index.key[nearest].tolist(), self._to_storage(self._read(nearest))
        return (keys[0], patterns[0]) if single else (keys, patterns)

    def keys(self) -> list[int]:
        """Keys held, oldest first."""
        return list(self.index.held())

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key) -> bool:
        return key in self.index.held()

    @property
    def hologram(self) -> Tensor:
        """Recorded intensity H of eq:memory, (dim, X): not negative, except by rounding."""
        return self.background[:, None] + self.fringes  # (dim, X)

    @torch.no_grad()
    def set_hologram(self, hologram: Tensor) -> None:
        """Replace H by another intensity (dim, X), say a noisy or quantised one; keys and energies are unchanged."""
        if hologram.shape != self.fringes.shape:
            raise ValueError(f"expected a hologram of {tuple(self.fringes.shape)}, got {tuple(hologram.shape)}")
        level = hologram.mean(dim=1)  # (dim,)
        self.background.copy_(level)
        self.fringes.copy_(hologram - level[:, None])

    def correlate(self, cue: Tensor) -> Tensor:
        """Inner products Re <P_i, cue> of cues (..., dim) with every carrier's pattern: (..., capacity).

        Optically: the cue illuminates the hologram, and the far field is read on the carriers; free ones give 0.
        Differentiable.  Cost: dim X multiply-adds and one transform of length X a cue.
        """
        if cue.shape[-1:] != (self.dim,):
            raise ValueError(f"expected cues (..., {self.dim}), got {tuple(cue.shape)}")
        with without_autocast(self.fringes):
            x, bins = self.aperture, self.aperture // 2
            field = self._split(cue).to(self.dtype) @ self._fringes(cue)  # (parts, ..., X)
            re, im = analysis(field.reshape(-1, x, 1), bins + 1, grid=x)  # (parts ..., bins + 1, 1)
            quadratures = torch.cat([re, -im], dim=-1)[:, 1:].flatten(1) / math.sqrt(x)  # (parts ..., 2 bins)
            carriers = quadratures[:, : self.parts * self.capacity] * self._gain
            carriers = carriers.reshape(*field.shape[:-1], self.capacity, self.parts)
            return sum(carriers[part, ..., part] for part in range(self.parts))  # (..., capacity)

    def superpose(self, weights: Tensor) -> Tensor:
        """Weighted sum of patterns, sum_i a_i P_i, for real weights a (..., capacity) of the carriers: (..., dim).

        Optically: the weighted sum of the references illuminates the hologram.  Differentiable.  Cost: as `correlate`.
        """
        if weights.shape[-1:] != (self.capacity,):
            raise ValueError(f"expected weights (..., {self.capacity}), one a carrier, got {tuple(weights.shape)}")
        with without_autocast(self.fringes):
            x, bins = self.aperture, self.aperture // 2
            unit = torch.eye(self.parts, dtype=self.dtype, device=weights.device)
            weights = weights.to(self.dtype)[..., None]  # (..., capacity, 1)
            waves = torch.stack([(weights * part).flatten(-2) for part in unit])  # (parts, ..., capacity parts)
            padded = F.pad(waves, (2, 2 * bins - waves.shape[-1]))  # DC first: (parts, ..., 2 (bins + 1))
            re, minus_im = padded.reshape(-1, bins + 1, 2, 1).unbind(2)  # (parts ..., bins + 1, 1)
            beam = synthesis(re, -minus_im, x, grid=x).reshape(*waves.shape[:-1], x) / math.sqrt(4 * x)
            parts = beam @ self._fringes(weights).T  # (parts, ..., dim)
            return torch.complex(parts[0], parts[1]) if self.complex_patterns else parts[0]  # (..., dim)

    def _fringes(self, operand: Tensor) -> Tensor:
        """Fringes in the dtype of products; a copy when a backward pass may follow later writes."""
        fringes = self.fringes.to(self.dtype)
        return fringes.clone() if operand.requires_grad and fringes is self.fringes else fringes

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of products: float64 where the storage is, else float32."""
        return torch.float64 if self.fringes.dtype == torch.float64 else torch.float32

    @property
    def _gain(self) -> Tensor:
        """1 for each quadrature; 1/2 on carrier X/2, where a pattern and its twin coincide."""
        gain = torch.ones(self.parts * self.capacity, dtype=self.dtype, device=self.fringes.device)
        if len(gain) + 1 == self.aperture and self.aperture % 2 == 0:
            gain[-1] = 0.5
        return gain

    def _split(self, patterns: Tensor) -> Tensor:
        """Quadratures (parts, ..., dim) of patterns."""
        if not self.complex_patterns:
            return patterns[None]
        return torch.stack([patterns.real, patterns.imag if patterns.is_complex() else torch.zeros_like(patterns)])

    def _to_storage(self, patterns: Tensor) -> Tensor:
        return patterns if patterns.is_complex() else patterns.to(self.fringes.dtype)

    def _quadratures(self, slots: Tensor) -> Tensor:
        """Indices of the quadratures of slots (m,): 2 (f - 1) and 2 (f - 1) + 1 belong to carrier f."""
        return (slots[:, None] * self.parts + torch.arange(self.parts, device=slots.device)).flatten()  # (m parts,)

    def _references(self, quadratures: Tensor) -> Tensor:
        """Reference waves (quadratures, X): cos, then sin, of 2 pi f x / X."""
        pixels = torch.arange(self.aperture)  # (X,)
        turn = 2.0 * math.pi / self.aperture * pixels.double()
        waves = torch.cat([torch.cos(turn), torch.sin(turn)]).to(quadratures.device, self.dtype)  # (2 X,)
        # The angle is reduced modulo 2 pi in integers: exact at any aperture.
        place = (quadratures // 2 + 1)[:, None] * pixels.to(quadratures.device) % self.aperture  # (quadratures, X)
        return waves[place + (quadratures % 2 * self.aperture)[:, None]]

    def _read(self, slots: Tensor) -> Tensor:
        """Patterns (m, dim) on the carriers of slots."""
        quadratures = self._quadratures(slots)
        waves = self._references(quadratures)  # (m parts, X)
        with without_autocast(self.fringes):
            read = waves @ self.fringes.to(waves.dtype).T  # (m parts, dim)
            read *= self._gain[quadratures, None] / self.aperture
        return torch.complex(read[0::2], read[1::2]) if self.complex_patterns else read  # (m, dim)

    def _record(self, slots: Tensor, patterns: Tensor | None) -> None:
        """Record patterns (m, dim), or with None nothing, on the carriers of slots, in place of what they held."""
        patterns = torch.zeros((), device=slots.device) if patterns is None else patterns
        power, change = patterns.abs().square(), patterns
        level = (power + 1.0).sum(dim=0) if patterns.dim() else power
        if len(self):
            before = self._read(slots)
            used = (self.index.age[slots] > 0)[:, None]
            level = level - (used * (before.abs().square() + 1.0)).sum(dim=0)
            change = change - before
        change = self._split(change).transpose(0, 1).reshape(-1, self.dim)  # (m parts, dim)
        waves = self._references(self._quadratures(slots))  # (m parts, X)
        with without_autocast(self.fringes):
            fringes = self.fringes.to(waves.dtype)  # the buffer itself where the dtypes agree: nothing is copied then
            self.fringes.copy_(fringes.addmm_(change.T, waves, alpha=2.0))
        self.background += level.to(self.background.dtype)
        self.energy[slots] = power.sum(dim=-1).to(self.energy.dtype)

    def _patterns(self, pattern, name: str) -> tuple[Tensor, bool]:
        """Patterns as (m, dim) in the dtype of products, and whether a single one was given."""
        pattern = torch.as_tensor(pattern, device=self.fringes.device).detach()
        if pattern.dim() not in (1, 2) or pattern.shape[-1] != self.dim or len(pattern) == 0:
            raise ValueError(f"expected a {name} ({self.dim},) or a batch (m, {self.dim}), got {tuple(pattern.shape)}")
        if pattern.is_complex() and not self.complex_patterns:
            raise TypeError(f"expected a real {name}, got {pattern.dtype}: set complex_patterns=True for complex ones")
        patterns = pattern.to(self.dtype.to_complex() if self.complex_patterns else self.dtype).reshape(-1, self.dim)
        if not torch.isfinite(patterns.abs().square().sum(dim=-1).to(self.energy.dtype)).all():
            got = f"NaN, infinity or an energy |P|^2 that overflows {self.energy.dtype}"
            raise ValueError(f"expected a finite {name}, got {got}")
        return patterns, pattern.dim() == 1

    def extra_repr(self) -> str:
        kind = "complex" if self.complex_patterns else "real"
        return f"dim={self.dim}, capacity={self.capacity} {kind} patterns, aperture={self.aperture}"
