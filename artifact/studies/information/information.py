"""Mutual information through a resonance layer: exact for Gaussian signals, estimated by nearest neighbours otherwise.

    glossary   code        report
               signal      K, the covariance of X, (n, n)
               noise       N, the covariance of the noise in Y = X + noise
               matrix      T, the layer as a real n x n matrix acting on one channel
               Q           orthonormal rows that span the rows of T

Information (thm:information, eq:chain): I(X; T(Y)) = I(X; Y) - I(X; Y | T(Y)) <= I(X; Y), with equality
exactly when T(Y) is sufficient for X.  For Gaussian signals and a linear T,

    I(X; T Y) = 1/2 log2 [ det Q (K + N) Q' / det Q N Q' ],

(eq:gaussian), equal to I(X; Y) exactly when the rows of T span the columns of N^-1 K.  The rank is that of the *real*
map on n samples: the inverse transform drops the imaginary part at DC and Nyquist, so a unitary matrix across
frequencies can lose information.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from artifact.studies.stable_gradients.gradients import ARRANGEMENTS
from resonance.layers import BandMixing

# --------------------------------------------------------------------------- exact


def gaussian_information(signal: Tensor, noise: Tensor) -> float:
    """I(X; X + noise) = 1/2 log2 det(I + N^-1 K) in bits, for covariances K (any rank) and N (full rank).

    Raises ValueError for shapes other than (r, r) and for a noise that is not positive definite.  Cost: r^3.
    Source: Cover and Thomas, Elements of Information Theory, chapter 9.
    """
    k, n = signal.double(), noise.double()
    if k.dim() != 2 or k.shape[0] != k.shape[1] or k.shape != n.shape:
        raise ValueError(f"expected two covariances of one shape (r, r), got {tuple(k.shape)} and {tuple(n.shape)}")
    if not len(k):
        return 0.0
    root, failed = torch.linalg.cholesky_ex(n)
    if failed:
        raise ValueError("the noise covariance is not positive definite: the information would be infinite")
    half = torch.linalg.solve_triangular(root, k, upper=False)
    ratio = torch.linalg.eigvalsh(torch.linalg.solve_triangular(root, half.mT, upper=False)).clamp_min(0.0)
    return float(torch.log1p(ratio).sum() / (2 * math.log(2)))


def row_space(matrix: Tensor, tolerance: float | None = None) -> Tensor:
    """Orthonormal rows Q, (rank, n), that span the rows of a matrix (m, n).

    The rank counts singular values above `tolerance` times the largest, by default max(m, n) eps.
    """
    _, values, rows = torch.linalg.svd(matrix.double(), full_matrices=False)
    if tolerance is None:
        tolerance = max(matrix.shape) * torch.finfo(torch.float64).eps
    return rows[values > tolerance * values[:1].sum()]  # none of an empty or zero matrix


def transmitted_information(matrix: Tensor, signal: Tensor, noise: Tensor) -> float:
    """I(X; T(X + noise)) in bits for a linear map T (m, n), by log-determinants on its row space (eq:gaussian).

    T Y and Q Y are invertible functions of each other, so only the row space of T matters.
    Raises ValueError when T does not act on n samples, and as `gaussian_information`.  Cost: n^3.
    """
    if matrix.dim() != 2 or matrix.shape[1] != len(signal):
        raise ValueError(f"expected a matrix (m, {len(signal)}) for that signal, got {tuple(matrix.shape)}")
    q = row_space(matrix)
    return gaussian_information(q @ signal.double() @ q.mT, q @ noise.double() @ q.mT)


def layer_matrix(mixing: BandMixing, n: int, channel: int = 0) -> Tensor:
    """The layer as the real matrix T, (n, n) float64, that acts on one channel: y = T x.

    Raises TypeError for anything but a `BandMixing`: a block with a norm is not linear.
    """
    if not isinstance(mixing, BandMixing):
        raise TypeError(f"expected a BandMixing, linear in x, got {type(mixing).__name__}")
    with torch.no_grad():
        units = torch.eye(n, dtype=torch.float64)[:, :, None].expand(n, n, mixing.dim)
        return copy.deepcopy(mixing).double()(units)[:, :, channel].mT.contiguous()


# --------------------------------------------------------------------------- signals


def ar1(n: int, rho: float = 0.9) -> Tensor:
    """The covariance rho^|i - j| of a stationary AR(1) signal of unit power, (n, n)."""
    i = torch.arange(n, dtype=torch.float64)
    return rho ** (i[:, None] - i).abs()


def circulant(power: Callable[[Tensor], Tensor], n: int) -> Tensor:
    """The covariance (n, n) of a periodic signal of unit power, its spectrum in proportion to power(f)."""
    f = torch.arange(n, dtype=torch.float64)
    row = torch.fft.ifft(power(torch.minimum(f, n - f))).real
    i = torch.arange(n)
    return row[(i[:, None] - i) % n] / row[0]


SIGNALS: dict[str, Callable[[int], Tensor]] = {
    "AR(1), 0.9": ar1,
    "1/f": lambda n: circulant(lambda f: 1 / f.clamp_min(1), n),
    "white": lambda n: circulant(torch.ones_like, n),
    "band |f| < n/8": lambda n: circulant(lambda f: (f < n / 8).double(), n),
}


def white_noise(signal: Tensor, snr_db: float) -> Tensor:
    """The covariance of white noise at a ratio of signal power to noise power, in decibels."""
    power = signal.diagonal().mean() / 10 ** (snr_db / 10)
    return power * torch.eye(len(signal), dtype=torch.float64)


# --------------------------------------------------------------------------- the table


def kept_frequencies(n: int, share: float) -> int:
    """k, one side of the spectrum, for k/n counted on both sides: share n / 2, and n/2 + 1 for all of it."""
    return n // 2 + 1 if share >= 1 else max(1, round(share * n / 2))


def retained_information(n: int, shares: Iterable[float], snrs_db: Iterable[float], *, seed: int) -> pd.DataFrame:
    """Bits retained by a layer with random weights at each share k/n, and the bound on its loss (thm:information).

    A row for each signal, SNR and share.
    """
    torch.manual_seed(seed)
    kept = [(share, kept_frequencies(n, share)) for share in shares]
    maps = [(share, k, layer_matrix(_layer(n, k), n)) for share, k in kept]
    rows = []
    for (name, covariance), snr in product(SIGNALS.items(), snrs_db):
        signal = covariance(n)
        noise = white_noise(signal, snr)
        whole = gaussian_information(signal, noise)
        for share, k, matrix in maps:
            bits, bound = (f(matrix, signal, noise) for f in (transmitted_information, lost_bits_bound))
            rows.append((name, snr, share, k, len(row_space(matrix)), whole, bits, bits / whole, bound))
    columns = ["signal", "snr_db", "share", "k", "rank", "whole", "bits", "retained", "bound"]
    return pd.DataFrame(rows, columns=columns)


def lost_bits_bound(matrix: Tensor, signal: Tensor, noise: Tensor) -> float:
    """E|X - Q'Q X|^2 / (2 s^2 ln 2), an upper bound on the bits that T loses of any X with covariance K in white noise.

    X need not be Gaussian (eq:lost).  Raises ValueError for noise that is not white, s^2 I.
    """
    power = noise.double()[0, 0]
    if not torch.allclose(noise.double(), power * torch.eye(len(noise), dtype=torch.float64), atol=1e-8 * power.item()):
        raise ValueError("expected white noise, s^2 I: the bound does not hold for another")
    q = row_space(matrix)
    outside = signal.double().trace() - (q @ signal.double() @ q.mT).trace()
    return float(outside.clamp_min(0.0) / (2 * math.log(2) * power))


# --------------------------------------------------------------------------- choice of frequencies


def best_information(signal: Tensor, noise: Tensor, rank: int) -> float:
    """The most bits that a linear map of at most `rank` transmits: 1/2 sum_{i <= rank} log2(1 + mu_i) (eq:choice).

    mu_i are the eigenvalues of N^-1 K in falling order; the map onto their eigenvectors attains it (thm:choice).
    Cost: n^3.
    """
    root = torch.linalg.cholesky(noise.double())
    half = torch.linalg.solve_triangular(root, signal.double(), upper=False)
    mu = torch.linalg.eigvalsh(torch.linalg.solve_triangular(root, half.mT, upper=False)).clamp_min(0.0).flip(0)
    return float(torch.log1p(mu[:rank]).sum() / (2 * math.log(2)))


def frequency_bits(signal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(SNR_f, bits c_f/2 log2(1 + SNR_f)) of each frequency f = 0 .. n/2, both covariances circulant (thm:choice).

    Raises ValueError for a covariance that is not circulant.
    """
    n = len(signal)
    for covariance in (signal, noise):
        if not torch.allclose(covariance, covariance.roll((1, 1), (0, 1))):
            raise ValueError("expected circulant covariances: a frequency has no SNR of its own under others")
    ratio = torch.fft.rfft(signal[0].double()).real / torch.fft.rfft(noise[0].double()).real
    f = torch.arange(len(ratio))
    c = torch.where((f == 0) | (2 * f == n), 1.0, 2.0).double()
    return ratio, c / 2 * torch.log2(1 + ratio.clamp_min(0.0))


def two_lines(n: int) -> tuple[Tensor, Tensor]:
    """(K, N), circulant: a slow signal with two faint lines, in noise that falls with the frequency."""
    signal = circulant(lambda f: 3 / (1 + f**2) + 1 / ((f - 9) ** 2 + 4) + 0.3 / ((f - 20) ** 2 + 2), n)
    return signal, 0.3 * circulant(lambda f: (0.3 + f / 8) ** -2, n)


def choice_table(n: int, ks: Iterable[int], draws: int, *, seed: int) -> pd.DataFrame:
    """Bits that layers of k chosen frequencies transmit of `two_lines`, and the most at their rank (thm:choice).

    choice: largest SNR, most energy, lowest; and the best of `draws` random maps of the rank 2k.  Weights are random.
    """
    torch.manual_seed(seed)
    signal, noise = two_lines(n)
    ratio, _ = frequency_bits(signal, noise)
    energy = torch.fft.rfft(signal[0]).real
    orders = {"largest SNR": ratio.argsort(descending=True), "most energy": energy.argsort(descending=True)}
    orders["lowest"] = torch.arange(len(ratio))
    rows = []
    for k in ks:
        for choice, order in orders.items():
            layer = BandMixing(1, frequencies=order[:k].sort().values.tolist(), interference=False, engine="fft")
            matrix = layer_matrix(layer, n)
            rows.append((k, choice, len(row_space(matrix)), transmitted_information(matrix, signal, noise)))
        maps = torch.randn(draws, 2 * k, n, dtype=torch.float64)
        rows.append((k, "random maps", 2 * k, max(transmitted_information(m, signal, noise) for m in maps)))
    table = pd.DataFrame(rows, columns=["k", "choice", "rank", "bits"])
    return table.assign(most=[best_information(signal, noise, rank) for rank in table["rank"]])


# --------------------------------------------------------------------------- special cases


def _layer(n: int, k: int | None = None) -> BandMixing:
    return BandMixing(1, kept_frequencies(n, 1.0) if k is None else k, engine="fft").double()


@torch.no_grad()
def _zero_weight(n: int, frequency: int, magnitude: float = 0.0) -> BandMixing:
    layer = _layer(n)
    layer.weight.magnitude[frequency] = magnitude
    return layer


@torch.no_grad()
def _interfering(n: int, matrix: Callable[[int], Tensor], *, unit_weights: bool) -> BandMixing:
    """A layer of the whole band with M = matrix(k), random weights or those of 1."""
    layer, k = _layer(n), kept_frequencies(n, 1.0)
    m = matrix(k).to(torch.complex128)
    layer.interference.re.copy_(m.real)
    layer.interference.im.copy_(m.imag)
    if unit_weights:
        layer.weight.set_(torch.ones(k, 1), torch.zeros(k, 1))
    return layer


def _half_rank(k: int) -> Tensor:
    """M = U V of rank k/2, complex, so that the real map has half of its rank as well."""
    return torch.randn(k, k // 2, dtype=torch.complex128) @ torch.randn(k // 2, k, dtype=torch.complex128) / k


def _swap(k: int) -> Tensor:
    """The permutation that swaps DC with f = 5: unitary, and not lossless."""
    return torch.eye(k)[[5, *range(1, 5), 0, *range(6, k)]]


def traps(n: int, snr_db: float, *, seed: int, signal: str = "AR(1), 0.9") -> pd.DataFrame:
    """Rank of several real maps and the bits that each loses (eq:chain); `whole` is what there is to lose.

    Rounding the output to bfloat16 (8 significant bits) is modelled as white noise of 2^-8 / sqrt(3) of the output's
    largest standard deviation: the root mean square error of a number just above a power of two, the worst case.
    """
    torch.manual_seed(seed)
    generic, half = layer_matrix(_layer(n), n), layer_matrix(_layer(n, n // 4), n)
    small = layer_matrix(_zero_weight(n, 3, 1e-3), n)
    maps = {
        "whole band, random weights": generic,
        "k = n/2 of both sides": half,
        "k = n/2 of one side": layer_matrix(_layer(n, n // 2), n),
        "residual block, k = n/2 of both": torch.eye(n, dtype=torch.float64) + half,
        "one zero weight": layer_matrix(_zero_weight(n, 3), n),
        "interference of half rank": layer_matrix(_interfering(n, _half_rank, unit_weights=False), n),
        "unitary interference, DC swapped": layer_matrix(_interfering(n, _swap, unit_weights=True), n),
        "one weight of 1/1000": small,
    }
    covariance = SIGNALS[signal](n)
    noise = white_noise(covariance, snr_db)
    whole = gaussian_information(covariance, noise)
    rows = [(name, len(row_space(m)), transmitted_information(m, covariance, noise)) for name, m in maps.items()]
    for name, m in (("whole band, rounded to bfloat16", generic), ("one weight of 1/1000, rounded", small)):
        out = m @ (covariance + noise) @ m.mT
        rounding = torch.eye(n, dtype=torch.float64) * (2.0**-16 / 3) * out.diagonal().max()
        bits = gaussian_information(m @ covariance @ m.mT, m @ noise @ m.mT + rounding)
        rows.append((name, len(row_space(m)), bits))
    table = pd.DataFrame(rows, columns=["map", "rank", "bits"])
    return table.assign(lost=whole - table.pop("bits"), whole=whole)


def block_ranks(n: int, dim: int, k: int, *, seed: int, eps: float | None = None) -> pd.DataFrame:
    """Rank and smallest over largest singular value of each arrangement's Jacobian, (n dim)^2, at a random input.

    Full rank is locally injective.  LayerNorm after the sum removes each token's mean over the channels, n of n dim
    directions, which the residual path cannot restore.  It keeps each token's scale only by its eps (torch's if None):
    at 0 another n directions are lost.
    """
    torch.manual_seed(seed)
    x = torch.randn(1, n, dim, dtype=torch.float64)
    rows = []
    for name, make in ARRANGEMENTS.items():
        block = make(dim, k).double()
        if eps is not None:
            block.norm.eps = eps
        jacobian = torch.autograd.functional.jacobian(block, x).reshape(n * dim, n * dim)
        values = torch.linalg.svdvals(jacobian)
        rows.append((name, len(row_space(jacobian)), n * dim, float(values[-1] / values[0])))
    return pd.DataFrame(rows, columns=["block", "rank", "size", "smallest"])


# --------------------------------------------------------------------------- nearest neighbours


def nearest_neighbour_information(x: np.ndarray, y: np.ndarray, neighbours: int = 3) -> float:
    """Nearest-neighbour estimate of I(X; Y) in bits from samples x (samples, p), y (samples, q).

        I = psi(neighbours) + psi(samples) - <psi(n_x + 1) + psi(n_y + 1)>,

    n_x and n_y the points strictly nearer in x, and in y, than the neighbour in both (largest difference as distance).
    Raises ValueError for arrays that are not (samples, p) and (samples, q) and for too few samples.
    Source: Kraskov, Stoegbauer, Grassberger 2004, first estimator; for p = q = 1 it is `mutual_info_regression`.
    """
    from scipy.special import digamma
    from sklearn.neighbors import KDTree, NearestNeighbors

    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"expected samples (m, p) and (m, q), got {x.shape} and {y.shape}")
    if not 1 <= neighbours < len(x):
        raise ValueError(f"expected more samples than neighbours={neighbours} >= 1, got {len(x)}")
    both = NearestNeighbors(metric="chebyshev", n_neighbors=neighbours).fit(np.concatenate([x, y], axis=1))
    radius = np.nextafter(both.kneighbors()[0][:, -1], 0)  # strictly nearer
    inside = [KDTree(z, metric="chebyshev").query_radius(z, radius, count_only=True) for z in (x, y)]  # itself too
    nats = digamma(neighbours) + digamma(len(x)) - sum(digamma(count).mean() for count in inside)
    return float(nats / math.log(2))


def estimator_bias(snrs_db: Iterable[float], samples: int, seeds: int, *, seed: int) -> pd.DataFrame:
    """scikit-learn's estimate for one scalar Gaussian channel, and 1/2 log2(1 + SNR): a row a seed."""
    from sklearn.feature_selection import mutual_info_regression

    rows = []
    for s in range(seed, seed + seeds):
        x, noise = np.random.default_rng(s).standard_normal((2, samples))
        for snr in snrs_db:
            nats = mutual_info_regression(x[:, None], x + noise * 10 ** (-snr / 20), random_state=s)[0]
            rows.append((snr, s, nats / math.log(2), 0.5 * math.log2(1 + 10 ** (snr / 10))))
    return pd.DataFrame(rows, columns=["snr_db", "seed", "estimate", "exact"])


def estimator_against_itself(
    snrs_db: Iterable[float], samples: int, seeds: int, *, seed: int, n: int = 4
) -> pd.DataFrame:
    """Estimate and closed form of I(X; T Y) for an AR(1) signal of n samples and three maps T, a row a seed.

    Of the map that keeps DC and f = 1 the estimator gets Q Y, of as many numbers as the rank of the map.
    """
    torch.manual_seed(seed)
    eye, whole, two = torch.eye(n, dtype=torch.float64), layer_matrix(_layer(n), n), layer_matrix(_layer(n, 2), n)
    maps = {"none": (eye, eye), "whole band": (whole, whole), "two frequencies": (two, row_space(two))}
    signal = ar1(n)
    root = torch.linalg.cholesky(signal).numpy()
    rows = []
    for s in range(seed, seed + seeds):
        white, noise = np.random.default_rng(s).standard_normal((2, samples, n))
        x = white @ root.T
        for snr in snrs_db:
            y = x + noise * 10 ** (-snr / 20)
            for name, (matrix, given) in maps.items():
                estimate = nearest_neighbour_information(x, y @ given.numpy().T)
                rows.append((name, snr, s, estimate, transmitted_information(matrix, signal, white_noise(signal, snr))))
    return pd.DataFrame(rows, columns=["map", "snr_db", "seed", "estimate", "exact"])
