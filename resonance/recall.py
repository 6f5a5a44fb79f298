"""Recall by holography: a sublayer that records a sequence as it passes and reads it back by reference.

    glossary   code         report
               keys         r_t: the reference that a value is recorded with, F real features of unit norm
               values       v_t: the pattern, dim / heads channels
               strengths    beta_t in (0, 1): the share of it that is recorded
               queries      q_t: the reference that a value is read with
               hologram     S_t: (F, dim / heads) a head, the state

References are F/2 phasors e^{i phi} / sqrt(F/2) of phases phi = W x, stored as cosines and sines, so that r_i' r_j is
the mean of cos(phi_i - phi_j).  `PlainRecall` sums the bound pairs, and other pairs add crosstalk to a reading;
`HolographicRecall` subtracts what is already read for the key, the delta rule (Widrow, Hoff 1960; Schlag, Irie,
Schmidhuber 2021), so that a pair recorded with strength 1 is read exactly right after.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional as F

from .causal import State, last_token, one_earlier
from .causal_mixing import masked
from .settings import placed
from .spectral import check_sequences, without_autocast

CHUNK = 64  # steps solved together: the speed is the same from 32 to 128
SPREAD = 2.5  # initial standard deviation of the phases, radians: unequal tokens have a mean r_i' r_j of exp(-2.5^2)
KEY, VALUE, QUERY, STRENGTH = range(4)
WEAK = -1.0  # initial bias of the strengths, sigmoid(-1) = 0.27: old pairs decay slowly until training selects pairs


class PlainRecall(nn.Module):
    """Recall what followed: record every token under the one before it and read by the current one; plain sum.

        y_t = O [S_t' q_t],    S_t = S_(t-1) + beta_t r_t v_t'    (a head; [.] joins heads; eq:recall without S' r)

    Initially keys come from the previous token and the rest from the current one, query and key weights are equal, and
    O is the inverse of the value map: a value is read back as it was recorded.  x: (batch, n, dim) -> (batch, n, dim).
    Arguments: dim, channels; heads, holograms of dim / heads channels each; features, F, real features of a reference.
    Raises ValueError for heads that do not divide dim, or features that are not even.
    Parameters: 2 dim^2 + dim heads (F + 1) + heads + 4 dim.  State: F dim + dim reals, whatever the length.
    Cost a step: 2 F dim multiply-adds in the recurrence, C (F heads + dim) more in chunks of C; linear in n.
    """

    @placed
    def __init__(self, dim: int, heads: int = 2, *, features: int = 64, device=None, dtype=None):
        super().__init__()
        if heads < 1 or dim < heads or dim % heads:
            raise ValueError(f"expected heads that divide dim, got heads={heads}, dim={dim}")
        if features < 2 or features % 2:
            raise ValueError(f"expected an even number of features, a cosine and a sine a phase, got {features}")
        self.dim, self.heads, self.features = dim, heads, features
        self.shift = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.5])[:, None].repeat(1, dim))
        self.key = nn.Linear(dim, heads * features // 2, bias=False)
        self.query = nn.Linear(dim, heads * features // 2, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.strength = nn.Linear(dim, heads)
        self.output = nn.Linear(dim, dim, bias=False)
        nn.init.normal_(self.key.weight, std=SPREAD / math.sqrt(dim))
        nn.init.orthogonal_(self.value.weight)
        nn.init.zeros_(self.strength.weight)
        nn.init.constant_(self.strength.bias, WEAK)
        with torch.no_grad():
            self.query.weight.copy_(self.key.weight)
            self.output.weight.copy_(self.value.weight.T)

    def initial_state(self, batch: int, *, device=None, dtype: torch.dtype | None = None) -> State:
        """The zero state: `hologram` (batch, heads, F, dim / heads) and `previous` (batch, dim)."""
        like = self.value.weight
        device, dtype = device or like.device, dtype or like.dtype
        shape = batch, self.heads, self.features, self.dim // self.heads
        hologram = torch.zeros(shape, device=device, dtype=torch.promote_types(dtype, torch.float32))
        return {"hologram": hologram, "previous": torch.zeros(batch, self.dim, device=device, dtype=dtype)}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map x (batch, n, dim) from the zero state: (batch, n, dim), zero after each sequence's length."""
        return self.extend(x, None, lengths)[0]

    def extend(self, x: Tensor, state: State | None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Map x, the continuation of `state` (None: zero): y, and the state after each sequence's own length."""
        check_sequences(x, self.dim)
        if state is None:
            state = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        else:
            self._check_state(state, x.shape[0])
        x, lengths, padding = masked(x, lengths)
        queries, keys, values, strengths = self.parts(x, one_earlier(x, state["previous"]))
        if padding is not None:
            strengths = strengths.masked_fill(padding[:, None], 0.0)
        with without_autocast(x):  # a hologram in half precision would lose small summands
            read, hologram = self.recorded(queries, keys, values, strengths, state["hologram"])
        y = self.output(read.transpose(1, 2).flatten(2).to(x.dtype))
        after = {"hologram": hologram, "previous": last_token(x, lengths)}
        return (y if padding is None else y.masked_fill(padding, 0.0)), after

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One token: x (batch, dim) and a state give y (batch, dim) and the next state."""
        self._check_state(state, check_sequences(x, self.dim, ()).shape[0])
        queries, keys, values, strengths = self.parts(x[:, None], state["previous"][:, None].to(x.dtype))
        with without_autocast(x):
            hologram = state["hologram"]
            hologram = hologram + keys.mT * (strengths * self.update(keys, values, hologram))
            read = queries @ hologram  # (batch, heads, 1, dim / heads)
        return self.output(read.flatten(1).to(x.dtype)), {"hologram": hologram, "previous": x.clone()}

    def _check_state(self, state: State, batch: int) -> None:
        expected = batch, self.heads, self.features, self.dim // self.heads
        shapes = {name: tuple(part.shape) for name, part in state.items()}
        own = state.keys() == {"hologram", "previous"} and state["hologram"].shape == expected
        if not own or state["previous"].shape != (batch, self.dim):
            raise ValueError(f"expected a state of hologram {expected} and previous {(batch, self.dim)}, got {shapes}")

    def parts(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys (batch, heads, n, F), values (..., dim / heads) and strengths (..., 1), in float32 at least."""
        change, wide = before - x, torch.promote_types(x.dtype, torch.float32)

        def by_head(linear: nn.Linear, part: int) -> Tensor:
            y = linear(torch.addcmul(x, change, self.shift[part])).to(wide)
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, n, .)

        queries, keys = waves(by_head(self.query, QUERY)), waves(by_head(self.key, KEY))
        return queries, keys, by_head(self.value, VALUE), by_head(self.strength, STRENGTH).sigmoid()

    def update(self, keys: Tensor, values: Tensor, hologram: Tensor) -> Tensor:
        """What one step records under its key: here, the value."""
        return values

    def recorded(
        self, queries: Tensor, keys: Tensor, values: Tensor, strengths: Tensor, hologram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Readings at every step, (batch, heads, n, dim / heads), and the last hologram."""
        n = keys.shape[2]
        queries, keys, written = (in_chunks(part) for part in (queries, keys, strengths * values))
        records = torch.cat([hologram[:, :, None], keys.mT @ written], dim=2).cumsum(dim=2)  # before each chunk
        read = queries @ records[:, :, :-1] + (queries @ keys.mT).tril() @ written
        return from_chunks(read, n), records[:, :, -1].clone()  # a state keeps no other record

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}, features={self.features}"


class HolographicRecall(PlainRecall):
    """Recall what followed by the delta rule, eq:recall: a step records the difference to what is read already.

        y_t = O [S_t' q_t],    S_t = S_(t-1) + beta_t r_t (v_t - S_(t-1)' r_t)'

    Up to F pairs under orthogonal references, recorded with strength 1, are read exactly; a pair recorded again
    replaces the one before.  Arguments, shapes, parameters, state, errors: as `PlainRecall`.  Cost: F dim multiply-adds
    a step more in the recurrence, and a triangular system of C unknowns a chunk.

    >>> y, state = HolographicRecall(8, heads=2).extend(torch.randn(1, 100, 8), None)
    >>> state["hologram"].shape  # whatever the length
    torch.Size([1, 2, 64, 4])
    """

    def update(self, keys: Tensor, values: Tensor, hologram: Tensor) -> Tensor:
        """What one step records under its key: the value less what is read there."""
        return values - keys @ hologram

    def recorded(
        self, queries: Tensor, keys: Tensor, values: Tensor, strengths: Tensor, hologram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Readings at every step, (batch, heads, n, dim / heads), and the last hologram, by eq:recall-chunk.

            (I + tril(B R R', -1)) U = B (V - R S),    B = diag(beta),    S <- S + R' U,    Y = Q S + tril(Q R') U

        a unit triangular system a chunk (Yang et al. 2024).
        """
        n = keys.shape[2]
        queries, keys, values, strengths = (in_chunks(part) for part in (queries, keys, values, strengths))
        weighted = strengths * keys
        # U = own - seen S: only this product and the next hologram are sequential over the chunks.
        system, right = (weighted @ keys.mT).tril(-1), torch.cat([strengths * values, weighted], dim=-1)
        solved = solve_unit_lower(system, right)
        own, seen = solved.split([values.shape[-1], self.features], dim=-1)
        parts = [part.movedim(2, 0) for part in (own, seen, keys.mT)]
        steps = scan if torch.compiler.is_compiling() and not torch.onnx.is_in_onnx_export() else one_by_one
        hologram, (holograms, written) = steps(record, hologram, parts)
        read = queries @ holograms.movedim(0, 2) + (queries @ keys.mT).tril() @ written.movedim(0, 2)
        return from_chunks(read, n), hologram


def solve_unit_lower(system: Tensor, right: Tensor) -> Tensor:
    """U of (I + system) U = right, system strictly lower; for ONNX, which has no such operation, by halves."""
    if not torch.onnx.is_in_onnx_export():
        return torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    if (half := right.shape[-2] // 2) == 0:
        return right
    upper = solve_unit_lower(system[..., :half, :half], right[..., :half, :])
    rest = right[..., half:, :] - system[..., half:, :half] @ upper
    return torch.cat([upper, solve_unit_lower(system[..., half:, half:], rest)], dim=-2)


def record(hologram: Tensor, parts: list[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step of the scan over chunks: the next hologram, and (the one before, U) as output."""
    own, seen, adjoint = parts
    written = own - seen @ hologram
    return hologram + adjoint @ written, (hologram.clone(), written)


def one_by_one(step: Callable, carried: Tensor, parts: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What torch's `scan` computes, by a loop: it is not in a graph, where the number of steps would be fixed."""
    outputs = []
    for part in zip(*parts, strict=True):
        carried, output = step(carried, part)
        outputs.append(output)
    return carried, tuple(map(torch.stack, zip(*outputs, strict=True)))


def waves(phases: Tensor) -> Tensor:
    """Phasors e^{i phi} / sqrt(m) of m phases, cosines before sines: (..., m) -> (..., 2 m), of unit norm."""
    return torch.cat([phases.cos(), phases.sin()], dim=-1) / math.sqrt(phases.shape[-1])


def in_chunks(x: Tensor) -> Tensor:
    """Cut (batch, heads, n, d) into chunks, (batch, heads, chunks, C, d), padded with zeros."""
    n = x.shape[2]
    if torch.compiler.is_compiling():  # gathered, with no condition on n: a graph serves every length
        place = torch.arange(n // CHUNK + 2, device=x.device)[:, None] * CHUNK + torch.arange(CHUNK, device=x.device)
        return F.pad(x, (0, 0, 0, 1))[:, :, place.clamp_max(n)]
    size = min(CHUNK, n)
    return F.pad(x, (0, 0, 0, -n % size)).unflatten(2, (-1, size))


def from_chunks(x: Tensor, n: int) -> Tensor:
    """The first n steps of chunks (batch, heads, chunks, C, d): (batch, heads, n, d)."""
    if torch.compiler.is_compiling():
        place = torch.arange(n, device=x.device)
        return x[:, :, place // CHUNK, place % CHUNK]
    return x.flatten(2, 3)[:, :, :n]
