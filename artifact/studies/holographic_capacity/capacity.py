"""Capacity of a hologram: the printed table against every scheme, the exact limit, noise, quantisation, Shannon.

    glossary   code        report
               dim         D, entries of a pattern; here also the aperture, so a hologram has D x D pixels
               n           N, patterns stored
               error       e = |P' - P| / |P|, norms over all patterns
               snr         SNR, power of the hologram's interference term over that of the noise, a pixel

thm:limit    no readout of one real hologram determines N complex patterns of any size unless N <= floor((D-1)/2)
             (`lookalikes`): a row is the squared distances to D anchors in R^2N, which must span it
thm:noise    e^2 = 2N / (D SNR); readings share I = N D log2(1 + 1/e^2) <= (D^2/2) log2(1 + SNR) bits with the patterns;
             with the zero order the hologram itself has up to (D/2) log2(1 + D SNR/2) more
thm:references   e^2 >= 2N / (D SNR) for every set of references read linearly; plane waves attain it (eq:references)
prop:rate    N random real D-vectors at error e need N D log2(1/e) bits, whatever the scheme
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from artifact.studies.holographic_capacity.holography import (
    AmplitudeHologram,
    IntensityHologram,
    Pair,
    PhaseShiftingHologram,
    PhasorTrace,
    PseudoInverseHologram,
    RealHologram,
    cosine_waves,
    plane_waves,
    random_phasors,
    stored_reals,
)
from resonance.memory import HolographicMemory, capacity_of
from resonance.polar import complex_product

PRINTED = pd.DataFrame(
    {"dim": [512, 1024, 2048], "n": [250, 500, 1000], "error": [0.042, 0.038, 0.051], "bits": [4096, 16384, 65536]}
)
SCHEMES = {  # of storing patterns, and the key of each in the ledger
    "one FHRR trace": "fhrr",
    "random references, matched": "matched",
    "random references, pseudo-inverse": "pseudoinverse",
    "DFT references": "dft",
    "DCT references, real": "dct",
    "four frames, DFT references": "frames",
    "intensity, carriers": "intensity",
    "HolographicMemory, real": "memory",
}


def generator_of(seed: int) -> torch.Generator:
    """A new generator with a seed."""
    return torch.Generator().manual_seed(seed)


def gaussian_patterns(n: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Pair:
    """Draw n complex Gaussian patterns of power 1 an entry: a pair of shape (n, dim)."""
    re, im = torch.randn(2, n, dim, generator=generator, dtype=dtype) / math.sqrt(2)
    return re, im


def relative_error(read: Pair | Tensor, patterns: Pair | Tensor) -> float:
    """|read - patterns| / |patterns|, in float64, over all entries."""
    read, patterns = ((x,) if isinstance(x, Tensor) else x for x in (read, patterns))
    off = sum((a.double() - b.double()).square().sum() for a, b in zip(read, patterns, strict=True))
    return (off / sum(b.double().square().sum() for b in patterns)).sqrt().item()


# --------------------------------------------------------------------------- the printed table


def scheme_errors(dim: int, n: int, *, seed: int, dtype: torch.dtype = torch.float32) -> pd.DataFrame:
    """Store n random patterns of `dim` entries by every scheme and read them back: a row each.

    theory: the error expected, 0 where reading is exact but for rounding.  reals: stored by the hologram.  numbers: in
    the patterns, a complex entry counts as two.
    """
    generator = generator_of(seed)
    patterns = gaussian_patterns(n, dim, generator, dtype)
    random = random_phasors(n, dim, generator, dtype)
    orthogonal = plane_waves(range(n), dim, dtype)
    media = {
        "one FHRR trace": (PhasorTrace(random), patterns, math.sqrt(n - 1)),
        "random references, matched": (AmplitudeHologram(random), patterns, math.sqrt((n - 1) / dim)),
        "random references, pseudo-inverse": (PseudoInverseHologram(random), patterns, 0.0),
        "DFT references": (AmplitudeHologram(orthogonal), patterns, 0.0),
        "DCT references, real": (RealHologram(cosine_waves(n, dim, dtype)), patterns[0], 0.0),
        "four frames, DFT references": (PhaseShiftingHologram(orthogonal), patterns, 0.0),
        "intensity, carriers": (IntensityHologram(plane_waves(range(1, n + 1), dim, dtype)), patterns, 0.0),
    }
    rows = []
    for scheme, (medium, stored, theory) in media.items():
        hologram = medium.record(stored)
        error = relative_error(medium.read(hologram), stored)
        rows.append((scheme, error, theory, stored_reals(hologram), stored_reals(stored)))
    memory = HolographicMemory(dim, n).to(dtype)
    error = relative_error(memory.reconstruct(memory.encode(patterns[0])), patterns[0])
    rows.append(("HolographicMemory, real", error, 0.0, memory.hologram.numel(), n * dim))
    table = pd.DataFrame(rows, columns=["scheme", "error", "theory", "reals", "numbers"])
    return table.assign(dim=dim, n=n, dtype=str(dtype).removeprefix("torch."), seed=seed)


def needed_bits(n: int, dim: int, error: float) -> float:
    """N D log2(1/e), the least bits for n random real vectors at relative error e < 1 (prop:rate)."""
    return n * dim * math.log2(1 / error)


def least_error(bits: float, n: int, dim: int) -> float:
    """2^(-bits / ND), the smallest relative error of n random real vectors stored in so many bits (prop:rate)."""
    return 2.0 ** (-bits / (n * dim))


def contradiction() -> pd.DataFrame:
    """The bits that each printed row would need, by the rate-distortion function of Gaussians (prop:rate).

    best: least error in the printed bits.  trace: least error in one complex64 trace of 64 D bits.  snr: gives the
    printed error on real patterns.  capacity: corrected, bits.
    """
    rows = []
    for dim, n, error, bits in PRINTED.itertuples(index=False):
        needed = needed_bits(n, dim, error)
        snr = n / (dim * error**2)  # n real patterns use n/2 carriers
        best, trace = (least_error(b, n, dim) for b in (bits, 64 * dim))
        rows.append((needed, needed / bits, best, trace, snr, shannon_bits(dim, snr)))
    return PRINTED.join(pd.DataFrame(rows, columns=["needed", "ratio", "best", "trace", "snr", "capacity"]))


# --------------------------------------------------------------------------- one pattern, read by H R


def illuminated_error(pixels: int, reference: str, *, seed: int) -> float:
    """The relative error of H R as a reconstruction of one pattern, H = |P + R|^2, pixel by pixel (prop:illumination).

    `reference` is "Gaussian" (expected sqrt(15)) or "unit modulus" (expected sqrt(6)); P is complex Gaussian.
    """
    generator = generator_of(seed)
    draw = {"Gaussian": gaussian_patterns, "unit modulus": random_phasors}[reference]
    p, r = (torch.complex(*draws(1, pixels, generator, torch.float64)) for draws in (gaussian_patterns, draw))
    return ((p + r).abs().square() * r - p).norm().item() / p.norm().item()


def illuminated_points(dim: int, *, seed: int) -> pd.DataFrame:
    """One pattern, H R, and its reading from a carrier: real parts, a row an entry."""
    generator = generator_of(seed)
    p, r = (gaussian_patterns(1, dim, generator, torch.float64) for _ in range(2))
    intensity = (p[0] + r[0]).square() + (p[1] + r[1]).square()
    medium = IntensityHologram(plane_waves([dim // 4], dim, torch.float64))
    carried = medium.read(medium.record(p))
    return pd.DataFrame({"pattern": p[0][0], "printed": (intensity * r[0])[0], "carrier": carried[0][0]})


# --------------------------------------------------------------------------- the limit


def carrier_error(dim: int, n: int, *, snr: float = math.inf, seed: int, dtype=torch.float64) -> dict[str, float]:
    """Read n complex patterns from carriers 1 .. n of D x D pixels, n < D, with white Gaussian noise at `snr`.

    theory: e^2 = (2n - D + 1)_+ / n + 2n / (D snr) (eq:tradeoff): past the limit carrier f and its twin D - f overlap,
    and 2n - D + 1 of the n readings contain another pattern's twin (at D/2 their own) of equal power.
    With noise, `shared` is the information of the readings in bits and `capacity` that of the pixels.
    """
    generator = generator_of(seed)
    patterns = gaussian_patterns(n, dim, generator, dtype)
    medium = IntensityHologram(plane_waves(range(1, n + 1), dim, dtype))
    noise = torch.randn(dim, dim, generator=generator, dtype=dtype) * math.sqrt(2 * n / snr)
    read = medium.read(medium.record(patterns) + noise)
    finite = math.isfinite(snr)
    return {
        "dim": dim,
        "n": n,
        "load": n / capacity_of(dim, complex_patterns=True),
        "snr": snr,
        "seed": seed,
        "error": relative_error(read, patterns),
        "theory": math.sqrt(max(0, 2 * n - dim + 1) / n + 2 * n / (dim * snr)),
        "shared": information_bits(read, patterns) if finite else math.nan,
        "capacity": shannon_bits(dim, snr) if finite else math.nan,
    }


def real_error(dim: int, *, nyquist: bool, seed: int) -> tuple[int, float]:
    """Fill a hologram with real patterns, two quadratures a carrier: (count, error), in float64, `dim` even.

    D - 2 of them on carriers 1 .. D/2-1; with `nyquist` one more, on D/2, where a real wave reads its pattern twice.
    """
    carriers = range(1, dim // 2 + nyquist)
    re, im = torch.randn(2, len(carriers), dim, generator=generator_of(seed), dtype=torch.float64)
    im[len(im) - nyquist :] = 0.0
    medium = IntensityHologram(plane_waves(carriers, dim, torch.float64))
    read_re, read_im = medium.read(medium.record((re, im)))
    read_re[len(im) - nyquist :] /= 2
    read_im[len(im) - nyquist :] = 0.0
    return dim - 2 + nyquist, relative_error((read_re, read_im), (re, im))


def lookalikes(references: Pair, *, seed: int) -> tuple[Tensor, Tensor]:
    """Two different sets of N complex patterns (D = 1), (N,) complex each, with the same intensity hologram.

    They exist for every set of references with 2N >= A, so no readout, linear or not, can distinguish them: mirror
    images in a hyperplane that holds the A anchors -(Re R_i[x], Im R_i[x]) (thm:limit).  Raises ValueError for 2N < A.
    """
    re, im = (part.double() for part in references)
    n, aperture = re.shape
    if 2 * n < aperture:
        raise ValueError(f"expected at least {aperture / 2:g} references on {aperture} pixels, got {n}")
    linear = 2 * torch.cat([re, im]).mT  # (A, 2N): the interference term of (Re P, Im P)
    _, values, vectors = torch.linalg.svd(linear)
    p = torch.randn(2 * n, generator=generator_of(seed), dtype=torch.float64)
    if 2 * n > aperture or values[-1] < 1e-9 * values[0]:
        u = vectors[-1]  # L u = 0: the mirror image of p has the same norm and the same interference
        p, q = p, p - 2 * (p @ u) * u
    else:
        v = torch.linalg.solve(linear, torch.ones(aperture, dtype=torch.float64))
        t = 0.3 / v.square().sum()
        p, q = t * v, (-1 / v.square().sum() - t) * v
    return torch.complex(p[:n], p[n:]), torch.complex(q[:n], q[n:])


def lookalikes_error(dim: int, n: int, *, seed: int) -> dict[str, float]:
    """Relative distance of two `lookalikes` on carriers 1 .. n of `dim` pixels, and of their holograms."""
    references = plane_waves(range(1, n + 1), dim, torch.float64)
    p, q = lookalikes(references, seed=seed)
    medium = IntensityHologram(references)
    h, g = (medium.record((x.real[:, None], x.imag[:, None])) for x in (p, q))
    return {"patterns": ((p - q).norm() / p.norm()).item(), "holograms": ((h - g).norm() / h.norm()).item()}


# --------------------------------------------------------------------------- noise and quantisation


def shannon_bits(dim: int, snr: float) -> float:
    """(D^2/2) log2(1 + SNR), Shannon's capacity of D x D real pixels with Gaussian noise (thm:noise).

    It bounds the information in a reading of the fringes, SNR being theirs; of the intensity: `recorded_bits_bound`.
    """
    return dim**2 / 2 * math.log2(1 + snr)


def recorded_bits_bound(dim: int, n: int, snr: float) -> float:
    """I + (D/2) log2(1 + D SNR/2), an upper bound on the bits of N Gaussian patterns in their hologram (eq:zero-order).

    I = N D log2(1 + D SNR/(2N)) are those of the readings, a lower bound; the rest is the zero order's.
    """
    return n * dim * math.log2(1 + dim * snr / (2 * n)) + dim / 2 * math.log2(1 + dim * snr / 2)


def information_bits(read: Pair, patterns: Pair) -> float:
    """Mutual information of Gaussian patterns and readings of correlation rho, -N D log2(1 - |rho|^2) (thm:noise)."""
    a, b = (torch.complex(*pair).flatten() for pair in (read, patterns))
    rho2 = (torch.vdot(a, b).abs() / (a.norm() * b.norm())).item() ** 2
    return -a.numel() * math.log2(1 - rho2)


REFERENCES = ("plane waves", "carriers + 1/2", "two powers", "random phases")


def references_of(kind: str, n: int, dim: int, *, seed: int) -> Pair:
    """n references on `dim` pixels, (n, dim) float64, of a kind in `REFERENCES`.

    Carriers 1 .. n of one power; the same plus 1/2, orthogonal still but no longer to the zero order; the same, every
    second one of twice the amplitude; independent uniform phases, a pixel each.
    """
    if kind == "random phases":
        return random_phasors(n, dim, generator_of(seed), torch.float64)
    re, im = plane_waves(range(1, n + 1), dim, torch.float64)
    if kind == "carriers + 1/2":
        angle = math.pi / dim * torch.arange(dim, dtype=torch.float64)
        return complex_product((re, im), (angle.cos(), angle.sin()))
    amplitude = 1.0 + (torch.arange(n) % 2)[:, None] * (kind == "two powers")
    return re * amplitude, im * amplitude


def blind_reading(references: Pair) -> tuple[Tensor, Tensor]:
    """(L, B) of references (N, D): the fringes' map L (D, 2N), and its reading B (2N, D) of least noise.

    One row of fringes is L p, p = (Re P, Im P).  B L = I (unbiased) and B 1 = 0 (blind to the patterns' zero order, a
    constant along the row); of these B has the least norm (thm:references).  Raises ValueError where there is none.
    """
    re, im = (part.double() for part in references)
    linear = 2 * torch.cat([re, im]).mT
    fringes = linear - linear.mean(dim=0)
    if fringes.shape[1] >= len(fringes) or torch.linalg.matrix_rank(fringes) < fringes.shape[1]:
        raise ValueError(f"expected references independent of each other and of a constant, got {tuple(re.shape)}")
    return linear, torch.linalg.pinv(fringes)


def reference_error(references: Pair, *, snr: float, seed: int) -> dict[str, float]:
    """Error of random patterns on any references, in noise at `snr`, read by `blind_reading` (eq:references).

    error: measured.  expected: s |B| / sqrt(N), s^2 the noise a pixel.  bound: sqrt(2N / (D SNR)), that of every
    set of references (thm:references).
    """
    n, dim = references[0].shape
    linear, reading = blind_reading(references)
    scale = math.sqrt(linear.square().sum().item() / (2 * dim * snr))  # fringes of power |L|^2 / 2D, entries of power 1
    generator = generator_of(seed)
    patterns = gaussian_patterns(n, dim, generator, torch.float64)
    hologram = IntensityHologram(references).record(patterns)
    noise = scale * torch.randn(hologram.shape, generator=generator, dtype=torch.float64)
    own = references[0].square().sum(0) + references[1].square().sum(0)  # |R|^2, known
    read = reading @ (hologram + noise - own).mT
    error = relative_error((read[:n], read[n:]), patterns)
    expected = scale * reading.norm().item() / math.sqrt(n)
    return {"n": n, "snr": snr, "error": error, "expected": expected, "bound": math.sqrt(2 * n / (dim * snr))}


def reference_table(dim: int, loads: Sequence[float], snr: float, *, seed: int) -> pd.DataFrame:
    """`reference_error` of each kind of references at each load, a share of the floor((D-1)/2) of thm:limit."""
    rows = []
    for kind in REFERENCES:
        for load in loads:
            n = max(1, round(load * ((dim - 1) // 2)))
            row = reference_error(references_of(kind, n, dim, seed=seed), snr=snr, seed=seed + 1)
            rows.append({"references": kind, "load": load} | row)
    return pd.DataFrame(rows)


def quantise(x: Tensor, bits: int) -> Tensor:
    """Round x to 2^bits uniform levels over its range, the ends included; bits >= 1."""
    low, high = x.min(), x.max()
    if low == high:
        return x.clone()
    step = (high - low) / (2**bits - 1)
    return low + ((x - low) / step).round() * step


def quantised_error(dim: int, n: int, bits: int, *, seed: int) -> dict[str, float]:
    """Read n complex patterns from a hologram of `bits` a pixel: error, and law step / sqrt(12 D) of uniform rounding.

    `needed` is the share of the stored bits that n complex Gaussians at this error need at least.
    """
    patterns = gaussian_patterns(n, dim, generator_of(seed), torch.float64)
    medium = IntensityHologram(plane_waves(range(1, n + 1), dim, torch.float64))
    hologram = medium.record(patterns)
    error = relative_error(medium.read(quantise(hologram, bits)), patterns)
    step = (hologram.max() - hologram.min()).item() / (2**bits - 1)
    needed = max(0.0, 2 * needed_bits(n, dim, error)) / (bits * dim**2)
    law = step / math.sqrt(12 * dim)
    return {"dim": dim, "n": n, "bits": bits, "seed": seed, "error": error, "law": law, "needed": needed}
