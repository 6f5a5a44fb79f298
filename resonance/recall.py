"""Recall by holography: a sublayer that records a sequence as it passes, and reads it back by reference.

    glossary   code         report
               keys         r_t: the reference that a value is recorded with, F real features of unit norm
               values       v_t: the pattern, dim / heads channels
               strengths    beta_t in (0, 1): how much of it is recorded
               queries      q_t: the reference that illuminates the hologram
               hologram     S_t: (F, dim / heads) a head, the whole memory of the past

    PlainRecall          S_t = S_(t-1) + beta_t r_t v_t'                             y_t = S_t' q_t
    HolographicRecall    S_t = S_(t-1) + beta_t r_t (v_t - S_(t-1)' r_t)'            y_t = S_t' q_t

References are waves: of phases phi = W x, one of F/2 entries e^{i phi} / sqrt(F/2), held as cosines and sines, so that
r_i' r_j is the mean of cos(phi_i - phi_j), 1 for a reference with itself.  The first rule adds bound pairs up, and what
other pairs leave in a reading is crosstalk; the second records only what the hologram does not say already, the delta
rule (Widrow, Hoff 1960; Schlag, Irie, Schmidhuber 2021), so that a pair reads exactly once it is recorded with
strength 1.  Its parallel form over chunks of C steps is a unit triangular system (Yang et al. 2024):

    (I + tril(B R R', -1)) U = B (V - R S),    B = diag(beta),    S <- S + R' U,    Y = Q S + tril(Q R') U.

How this differs from attention, linear attention, DeltaNet and Hrrformer is said in the report, section "Recall".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import length_mask
from .spectral import check_sequences

State = dict[str, Tensor]
CHUNK = 64  # steps solved together: measured, level from 32 to 128
SPREAD = 2.5  # standard deviation of the phases at the start, in radians: strangers agree by exp(-2.5^2) on average
KEY, VALUE, QUERY, STRENGTH = range(4)
WEAK = -1.0  # sigmoid(-1) = 0.27 at the start: pairs fade late until it is learned what is worth recording


class PlainRecall(nn.Module):
    """Recall what followed: record every token under the one before it, and read by the present one; plain sum.

        y_t = O [S_t' q_t],    S_t = S_(t-1) + beta_t r_t v_t'        (a head; [.] puts the heads side by side)

    Keys come from the previous token and the rest from the present one, at the start: each has a learnable mix of both.
    Query and key have equal weights at the start, and O is the inverse of the value map: what is read back is what was
    recorded.  x: (batch, n, dim) -> (batch, n, dim).

    Arguments: dim, channels; heads, holograms of dim / heads channels each; features, F, real features of a reference.
    Raises ValueError for heads that do not divide dim, or features that are not even.
    Parameters: 2 dim^2 + dim heads (F + 1) + heads + 4 dim.  State: F dim + dim reals, whatever the length.
    Cost a step: 2 F dim multiply-adds in the recurrence, C (F heads + dim) more in chunks of C; linear in n.
    """

    def __init__(self, dim: int, heads: int = 2, *, features: int = 64):
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

    def initial_state(
        self, batch: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state of silence: an empty `hologram` (batch, heads, F, dim / heads), `previous` (batch, dim)."""
        like = self.value.weight
        device, dtype = device or like.device, dtype or like.dtype
        shape = batch, self.heads, self.features, self.dim // self.heads
        hologram = torch.zeros(shape, device=device, dtype=torch.promote_types(dtype, torch.float32))
        return {"hologram": hologram, "previous": torch.zeros(batch, self.dim, device=device, dtype=dtype)}

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return y (batch, n, dim) of a sequence from silence; with `lengths` (batch,), zero in the padding."""
        check_sequences(x, self.dim)
        return self.extend(x, self.initial_state(len(x), device=x.device, dtype=x.dtype), lengths)[0]

    def extend(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Return y (batch, n, dim) of a sequence that goes on from `state`, and the state after it.

        With `lengths`, (batch,) of 1..n, sample b goes on by lengths[b] steps; its padding is not recorded.
        """
        check_sequences(x, self.dim)
        self._check_state(state, len(x))
        inside = None if lengths is None else length_mask(x, lengths)
        if inside is not None:
            x = x.masked_fill(~inside, 0.0)
        tokens = torch.cat([state["previous"][:, None].to(x.dtype), x], dim=1)
        queries, keys, values, strengths = self.parts(x, tokens[:, :-1])
        if inside is not None:
            strengths = strengths * inside[:, None]
        with torch.autocast(x.device.type, enabled=False):  # in half precision a hologram would lose what it gathers
            read, hologram = self.recorded(queries, keys, values, strengths, state["hologram"])
        y = self.output(read.transpose(1, 2).flatten(2).to(x.dtype))
        if inside is None:
            return y, {"hologram": hologram, "previous": x[:, -1]}
        last = torch.as_tensor(lengths, device=x.device)[:, None, None].expand(-1, 1, self.dim)
        return y.masked_fill(~inside, 0.0), {"hologram": hologram, "previous": tokens.gather(1, last)[:, 0]}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y (batch, dim) of the next token x (batch, dim), and the state after it: constant time and memory."""
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected one token a sample, shape (batch, {self.dim}), got {tuple(x.shape)}")
        self._check_state(state, len(x))
        queries, keys, values, strengths = self.parts(x[:, None], state["previous"][:, None].to(x.dtype))
        with torch.autocast(x.device.type, enabled=False):
            hologram = state["hologram"]
            hologram = hologram + keys.mT * (strengths * self.unknown(keys, values, hologram))
            read = queries @ hologram  # (batch, heads, 1, dim / heads)
        return self.output(read.flatten(1).to(x.dtype)), {"hologram": hologram, "previous": x}

    def _check_state(self, state: State, batch: int) -> None:
        expected = batch, self.heads, self.features, self.dim // self.heads
        shapes = {name: tuple(part.shape) for name, part in state.items()}
        if shapes != {"hologram": expected, "previous": (batch, self.dim)}:
            raise ValueError(f"expected a state of hologram {expected} and previous {(batch, self.dim)}, got {shapes}")

    def parts(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return queries, keys (batch, heads, n, F), values (..., dim / heads) and strengths (..., 1) of tokens.

        x, before: (batch, n, dim), the tokens and those one step earlier.  float32 at least: a hologram is a long sum.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        change = before - x
        mixed = [torch.addcmul(x, change, mix) for mix in self.shift]

        def of_heads(y: Tensor) -> Tensor:
            return y.to(wide).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        queries, keys = (
            waves(of_heads(linear(mixed[part]))) for linear, part in ((self.query, QUERY), (self.key, KEY))
        )
        return queries, keys, of_heads(self.value(mixed[VALUE])), of_heads(self.strength(mixed[STRENGTH])).sigmoid()

    def unknown(self, keys: Tensor, values: Tensor, hologram: Tensor) -> Tensor:
        """Return what one step records of its value: here, all of it."""
        return values

    def recorded(
        self, queries: Tensor, keys: Tensor, values: Tensor, strengths: Tensor, hologram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what is read at every step, (batch, heads, n, dim / heads), and the last hologram."""
        n = keys.shape[2]
        queries, keys, written = (chunked(part) for part in (queries, keys, strengths * values))
        records = torch.cat([hologram[:, :, None], keys.mT @ written], dim=2).cumsum(dim=2)
        read = queries @ records[:, :, :-1] + (queries @ keys.mT).tril() @ written
        return read.flatten(2, 3)[:, :, :n], records[:, :, -1]

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}, features={self.features}"


class HolographicRecall(PlainRecall):
    """Recall what followed, without crosstalk from what the hologram says already: the delta rule.

        y_t = O [S_t' q_t],    S_t = S_(t-1) + beta_t r_t (v_t - S_(t-1)' r_t)'

    Up to F pairs under orthogonal references, recorded with strength 1, are read exactly; a pair that is recorded anew
    replaces the one before, and one recorded again and again adds nothing.
    Arguments, shapes, parameters, state, errors: as `PlainRecall`.  Cost: F dim multiply-adds a step more in the
    recurrence, and a triangular system of C unknowns a chunk.
    """

    def unknown(self, keys: Tensor, values: Tensor, hologram: Tensor) -> Tensor:
        """Return what one step records of its value: what the hologram does not say yet."""
        return values - keys @ hologram

    def recorded(
        self, queries: Tensor, keys: Tensor, values: Tensor, strengths: Tensor, hologram: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what is read at every step, (batch, heads, n, dim / heads), and the last hologram."""
        n = keys.shape[2]
        queries, keys, values, strengths = (chunked(part) for part in (queries, keys, values, strengths))
        weighted = strengths * keys
        # U = own - seen S: only this product and the next hologram are left to do one chunk after the other.
        solved = torch.linalg.solve_triangular(
            (weighted @ keys.mT).tril(-1),
            torch.cat([strengths * values, weighted], dim=-1),
            upper=False,
            unitriangular=True,
        )
        own, seen = solved.split([values.shape[-1], self.features], dim=-1)
        holograms, written = [], []
        for one_own, one_seen, adjoint in zip(own.unbind(2), seen.unbind(2), keys.mT.unbind(2), strict=True):
            holograms.append(hologram)
            written.append(one_own - one_seen @ hologram)
            hologram = hologram + adjoint @ written[-1]
        read = queries @ torch.stack(holograms, 2) + (queries @ keys.mT).tril() @ torch.stack(written, 2)
        return read.flatten(2, 3)[:, :, :n], hologram


def waves(phases: Tensor) -> Tensor:
    """Return e^{i phi} / sqrt(m) of m phases, cosines before sines: (..., m) -> (..., 2 m), of unit norm."""
    return torch.cat([phases.cos(), phases.sin()], dim=-1) / math.sqrt(phases.shape[-1])


def chunked(x: Tensor) -> Tensor:
    """Return (batch, heads, n, d) cut into chunks, (batch, heads, chunks, C, d), zero behind the end."""
    n = x.shape[2]
    size = min(CHUNK, n)
    return nn.functional.pad(x, (0, 0, 0, -n % size)).unflatten(2, (-1, size))
