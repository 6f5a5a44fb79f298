"""Decoders of one trace of codebook symbols: message passing, and the peers that it is compared with.

All take a trace (R, D/R) as received and keys (`keys`), and return the symbols (N,).  Message passing for sections is
known (Barbier & Krzakala 2014, 2017; Rush, Greig & Venkataramanan 2017); with z the residual, b the beliefs, row block
r and column block c of position i (eq:codebook-passing):

    u_c = sum_{i in c} (1 - sum_m b_im^2),    phi_r = mean z_r^2
    z  <-  S - sum_im x_im b_im + (R/w) (sum_{c reaches r} u_c / phi_r) z
    b_i <- softmax_m ((D/w) (sum_{r of c} 1/phi_r) b_im + <x_im, z / phi>)

Without the last term of z, the Onsager correction, it is soft feedback: parallel interference cancellation (Hersche et
al. 2021).  A decoding can be checked without knowing the symbols: by the trace that it would give.  `searched` uses
this to restart an iterative decoder, ours and soft feedback alike, with more damping.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from artifact.studies.codebooks.keys import Array, FourierKeys, PermutedKeys, one_hot

Keys = PermutedKeys | FourierKeys
DAMPING = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2)  # of the restarts, the new beliefs' weight; from the third on a random start
STILL = 1e-6  # of phi, the least power of a residual


def softmax(x: Array) -> Array:
    """exp(x) / sum exp(x) over the last axis."""
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def spread_power(power: Array, width: int) -> Array:
    """The power an entry, (R,), that what the column blocks hold, (C,), has in the row blocks."""
    return (len(power) + width - 1) / width * np.convolve(power, np.ones(width))


def gathered_precision(precision: Array, width: int) -> Array:
    """1 / phi (R,) averaged over the row blocks that each column block reaches, (C,)."""
    return np.convolve(precision, np.ones(width), "valid") / width


def matched_filter(trace: Array, keys: Keys) -> Array:
    """The symbol of the largest score <x_im, S>: codebook decoding."""
    return keys.adjoint(trace).argmax(axis=1)


def message_passing(
    trace: Array,
    keys: Keys,
    *,
    damping: float = 1.0,
    onsager: bool = True,
    start: Array | None = None,
    iterations: int = 200,
    tolerance: float = 1e-4,
) -> Array:
    """Approximate message passing (eq:codebook-passing), or without its Onsager term soft feedback.

    Ends when a position's beliefs change by less than `tolerance` on average, at the latest after `iterations`.
    Cost of an iteration: one `apply` and one `adjoint` of the keys.
    """
    beliefs = np.full((keys.n, keys.m), 1 / keys.m, np.float32) if start is None else start
    residual, phi = np.zeros_like(trace), np.ones(len(trace))
    for _ in range(iterations):
        unexplained = (1 - np.square(beliefs).sum(axis=1)).reshape(keys.blocks, -1).sum(axis=1)
        memory = onsager * spread_power(unexplained, keys.width) / phi  # (R,)
        residual = trace - keys.apply(beliefs) + memory[:, None].astype(np.float32) * residual
        phi = np.maximum(np.square(residual).mean(axis=1), STILL)
        own = keys.dim * gathered_precision(1 / phi, keys.width)  # (C,)
        own = np.repeat(own, keys.n // keys.blocks)[:, None].astype(np.float32)  # (N, 1)
        updated = softmax(own * beliefs + keys.adjoint(residual / phi[:, None].astype(np.float32)))
        change = np.abs(updated - beliefs).sum(axis=1).mean()
        beliefs = beliefs + np.float32(damping) * (updated - beliefs)
        if change < tolerance:
            break
    return updated.argmax(axis=1)


def unexplained_power(trace: Array, keys: Keys, symbols: Array) -> float:
    """Mean square of the trace less that of the symbols: the noise alone if they are right."""
    return float(np.square(trace - keys.apply(one_hot(symbols, keys.m))).mean())


def searched(
    trace: Array, keys: Keys, rng: np.random.Generator, *, noise: float = 0.0, onsager: bool = True
) -> tuple[Array, int]:
    """`message_passing` with restarts until the residual is the noise, of a known variance; the symbols, and the runs.

    Accepted is a mean square of at most three standard deviations above the noise; if none is, the least counts.
    """
    accepted, best = noise * (1 + 3 * (2 / keys.dim) ** 0.5) + 1e-3, np.inf
    for run, damping in enumerate(DAMPING, 1):
        start = rng.dirichlet(np.full(keys.m, 20.0), keys.n).astype(np.float32) if run > 2 else None
        symbols = message_passing(trace, keys, damping=damping, onsager=onsager, start=start)
        power = unexplained_power(trace, keys, symbols)
        if power < best:
            best, found = power, symbols
        if best <= accepted:
            break
    return found, run


# --------------------------------------------------------------------------- peers, on permuted codebooks


def margins(scores: Array) -> Array:
    """The largest score of each position less its second, (N,)."""
    top = np.partition(scores, -2, axis=1)
    return top[:, -1] - top[:, -2]


def explaining_away(trace: Array, keys: PermutedKeys) -> Array:
    """Successive interference cancellation: the position of the largest margin is decoded and subtracted, N times.

    Then `swept`.
    """
    residual, symbols = trace.copy(), np.full(keys.n, -1)
    for _ in range(keys.n):
        scores = keys.adjoint(residual)
        i = np.where(symbols < 0, margins(scores), -1).argmax()
        symbols[i] = scores[i].argmax()
        residual -= keys.position(i)[symbols[i]]
    return swept(trace, keys, symbols)


def swept(trace: Array, keys: PermutedKeys, symbols: Array, sweeps: int = 10) -> Array:
    """Decode each position in turn with all others subtracted, until a sweep changes nothing."""
    symbols, residual = symbols.copy(), trace - keys.apply(one_hot(symbols, keys.m))
    for _ in range(sweeps):
        before = symbols.copy()
        for i in range(keys.n):
            columns = keys.position(i)
            scores = columns @ residual[0]
            scores[symbols[i]] += keys.dim
            if (best := scores.argmax()) != symbols[i]:
                residual += columns[symbols[i]] - columns[best]
                symbols[i] = best
        if (symbols == before).all():
            break
    return symbols


def lasso(
    trace: Array, keys: PermutedKeys, *, penalty: float, rounds: int = 8, first: int = 150, then: int = 40
) -> Array:
    """Non-negative LASSO with interference cancellation: the class of the best decoders of Kleyko et al. (2023).

    Minimises |S - sum b_im x_im|^2 / 2D + penalty sum b_im over b >= 0 by FISTA (Beck & Teboulle 2009).  In every
    round the positions of the largest margins are decoded and subtracted, and the rest is solved again; then `swept`.
    """
    beliefs, fixed = np.zeros((keys.n, keys.m), np.float32), np.zeros(keys.n, bool)
    step = 1 / _largest_eigenvalue(keys)
    for left in range(rounds, 0, -1):
        ahead, momentum = beliefs, 1.0
        for _ in range(first if left == rounds else then):
            gradient = keys.adjoint(keys.apply(ahead) - trace) / keys.dim + penalty
            updated = np.where(fixed[:, None], beliefs, np.maximum(ahead - step * gradient, 0)).astype(np.float32)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = updated + np.float32((momentum - 1) / following) * (updated - beliefs)
            beliefs, momentum = updated, following
        order = np.where(fixed, -1, margins(beliefs)).argsort()[::-1]
        chosen = order[: -(-(~fixed).sum() // left)]
        beliefs[chosen], fixed[chosen] = one_hot(beliefs[chosen].argmax(axis=1), keys.m), True
    return swept(trace, keys, beliefs.argmax(axis=1))


def _largest_eigenvalue(keys: Keys, steps: int = 15) -> np.float32:
    """Of A^T A / D, by power iteration, with a margin for its few steps."""
    x = np.random.default_rng(0).standard_normal((keys.n, keys.m)).astype(np.float32)
    for _ in range(steps):
        x /= np.linalg.norm(x)
        x = keys.adjoint(keys.apply(x)) / keys.dim
    return np.float32(1.1 * np.linalg.norm(x))


def resonator(trace: Array, positions: Array, codebook: Array, rng: np.random.Generator, iterations: int = 40) -> Array:
    """A resonator network with explaining away, on a trace of products: S = sum_i K_i C_{m_i} of bipolar K_i and C_m.

    It searches a pair (position, symbol) by turns, k = sign(K^T K (S c)), c = sign(C^T C (S k)), subtracts it, and
    searches the next among the positions left (Frady et al. 2020; Hersche et al. 2023).  A permutation is no factor of
    a product, so it does not apply to permuted codebooks.  positions: (N, D), codebook: (M, D), trace: (D,).
    """
    residual, symbols = trace.copy(), np.full(len(positions), -1)
    for _ in range(len(positions)):
        left = np.flatnonzero(symbols < 0)
        keys = positions[left]
        vector = np.sign(rng.standard_normal(len(trace))).astype(np.float32)
        for _ in range(iterations):
            key = np.where(keys.T @ (keys @ (residual * vector)) < 0, np.float32(-1), np.float32(1))
            following = np.where(codebook.T @ (codebook @ (residual * key)) < 0, np.float32(-1), np.float32(1))
            if (following == vector).all():
                break
            vector = following
        i = (keys @ (residual * vector)).argmax()
        symbol = (codebook @ (residual * keys[i])).argmax()
        symbols[left[i]] = symbol
        residual -= keys[i] * codebook[symbol]
    return symbols


DECODERS: dict[str, Callable] = {
    "matched filter": lambda trace, keys, noise, rng, penalty: matched_filter(trace, keys),
    "explaining away": lambda trace, keys, noise, rng, penalty: explaining_away(trace, keys),
    "soft feedback": lambda trace, keys, noise, rng, penalty: searched(trace, keys, rng, noise=noise, onsager=False)[0],
    "LASSO": lambda trace, keys, noise, rng, penalty: lasso(trace, keys, penalty=penalty),
    "message passing": lambda trace, keys, noise, rng, penalty: searched(trace, keys, rng, noise=noise)[0],
}
