"""Cross-modal resonance: the bands of several modalities interfere, each on a grid of its own.

    glossary   code                   report
               Line, Plane            A_m, S_m, analysis of a modality's tokens and its adjoint: on a line, on a plane
               weights[m]             W_m, polar weights, one a frequency and channel
               interference           M, whose block M_mm' carries the band of modality m' to that of m

With P modalities present (report, eq. "crossmodal"),

    y_m = S_m s_m [ M_mm W_m z_m + 1/(P - 1) sum_{m' != m} M_mm' W_m' z_m' ],    z_m = A_m x_m / s_m.

s_m turns coefficients into amplitudes, so that a wave of amplitude 1 is the same to every modality however many tokens
hold it.  The blocks of a missing modality are left out of the sum: there is no zero tensor, and a modality alone is
`BandMixing` with M_mm.  No product of two tokens is taken.


MultimodalResonanceNet: vision, audio and text in one network, any subset of them at each call.

    vision   patches on a plane            PatchEmbedding, no convolution
    audio    frames of log power, a line   SpectrumFrames, linear bins, no mel scale
    text     words on a line               HierarchicalEmbedding

Each modality stays on its own grid; the layers let their bands interfere (`cross_modal`).  At the end every modality
gives its own evidence, logits that add up as log-odds do: one that is missing adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .audio import SpectrumFrames
from .band import make_band, next_power_of_two
from .polar import Interference, PolarWeight, mixed
from .spectral import packed_analysis, packed_synthesis
from .vision import PatchEmbedding
from .vocabulary import HierarchicalEmbedding

Tokens = dict[str, Tensor]  # modality: (batch, n, dim) on a line, (batch, rows, columns, dim) on a plane


def _kept(k: int, n: int) -> int:
    """Return how many of the k lowest frequencies the grid of n samples has."""
    return min(k, next_power_of_two(n) // 2 + 1)


class Line:
    """The k lowest frequencies of tokens on a line, as many as its grid has: (batch, n, d) <-> (batch, 2k', d)."""

    axes = 1

    def __init__(self, k: int):
        if k < 1:
            raise ValueError(f"expected at least 1 frequency, got {k}")
        self.size = k

    def kept(self, shape: Sequence[int]) -> Tensor:
        """Return which of the `size` frequencies a grid of this shape has, as indices (k',)."""
        return torch.arange(_kept(self.size, shape[0]))

    def analysis(self, x: Tensor) -> Tensor:
        """Return A x, real parts before imaginary ones."""
        n = x.shape[1]
        return packed_analysis(x, make_band(n, _kept(self.size, n)), "auto")

    def synthesis(self, spectrum: Tensor, shape: Sequence[int]) -> Tensor:
        """Return S applied to a spectrum: (batch, *shape, d)."""
        (n,) = shape
        return packed_synthesis(spectrum, make_band(n, _kept(self.size, n)), "auto")


class Plane:
    """The lowest frequencies of tokens on a plane: |f| < k_rows down the rows, 0 <= g < k_columns along them.

    (batch, rows, columns, d) <-> (batch, 2k', d), k = (2 k_rows - 1) k_columns where the grid has them all.
    Order: f = 0, 1, .., k_rows - 1, -1, .., 1 - k_rows; g within f.  A band transform along the rows, then one
    down the columns for real and imaginary parts: with spectra A and B of the two, Z_f = A_f + i B_f and
    Z_-f = conj(A_f) + i conj(B_f).
    At g = 0 a real plane has Z_-f = conj(Z_f): both are kept, and count half each.
    """

    axes = 2

    def __init__(self, k_rows: int, k_columns: int):
        if min(k_rows, k_columns) < 1:
            raise ValueError(f"expected at least 1 frequency each way, got {k_rows} and {k_columns}")
        self.k_rows, self.k_columns = k_rows, k_columns
        self.size = (2 * k_rows - 1) * k_columns

    def _counts(self, shape: Sequence[int]) -> tuple[int, int]:
        return _kept(self.k_rows, shape[0]), _kept(self.k_columns, shape[1])

    def kept(self, shape: Sequence[int]) -> Tensor:
        """Return which of the `size` frequencies a grid of this shape has, as indices (k',)."""
        down, along = self._counts(shape)
        table = torch.arange(self.size).view(-1, self.k_columns)[:, :along]
        return torch.cat([table[:down], table[self.k_rows : self.k_rows + down - 1]]).flatten()

    def analysis(self, x: Tensor) -> Tensor:
        """Return A x, real parts before imaginary ones."""
        batch, rows, columns, dim = x.shape
        down, along = self._counts((rows, columns))
        inner = packed_analysis(x.flatten(0, 1), make_band(columns, along), "auto")  # (batch rows, 2 along, d)
        outer = packed_analysis(inner.reshape(batch, rows, -1), make_band(rows, down), "auto")
        (a_re, b_re), (a_im, b_im) = (
            part.unbind(2) for part in outer.view(batch, 2, down, 2, along, dim).unbind(1)
        )  # each (batch, down, along, d)
        re = torch.cat([a_re - b_im, (a_re + b_im)[:, 1:]], dim=1)
        im = torch.cat([a_im + b_re, (b_re - a_im)[:, 1:]], dim=1)
        return torch.cat([re.flatten(1, 2), im.flatten(1, 2)], dim=1)

    def synthesis(self, spectrum: Tensor, shape: Sequence[int]) -> Tensor:
        """Return S applied to a spectrum: (batch, *shape, d)."""
        (rows, columns), (down, along) = shape, self._counts(shape)
        batch, _, dim = spectrum.shape
        re, im = spectrum.view(batch, 2, 2 * down - 1, along, dim).unbind(1)
        p_re, p_im = re[:, :down], im[:, :down]
        m_re, m_im = (torch.cat([part[:, :1], part[:, down:]], dim=1) for part in (re, im))
        # real parts of the two, then imaginary ones: the inverse of what `analysis` ends with
        outer = torch.stack([p_re + m_re, p_im + m_im, p_im - m_im, m_re - p_re], dim=1) / 2
        outer = outer.view(batch, 2, 2, down, along, dim).transpose(2, 3).reshape(batch, 2 * down, -1)
        inner = packed_synthesis(outer, make_band(rows, down), "auto")  # (batch, rows, 2 along d)
        inner = inner.reshape(batch * rows, 2 * along, dim)
        return packed_synthesis(inner, make_band(columns, along), "auto").view(batch, rows, columns, dim)


def amplitude(shape: Sequence[int]) -> float:
    """Return s = prod n / sqrt(N): a coefficient over s is the amplitude of its wave, at frequency 0 the mean."""
    return math.prod(n / math.sqrt(next_power_of_two(n)) for n in shape)


class CrossModalMixing(nn.Module):
    """Mix the tokens of every modality present through one joint interference matrix (head of this file).

    {modality: tokens} -> the same modalities and shapes, linear in the tokens.  `bands` gives each modality its
    `Line` or `Plane`; a call may hold any of them, at least one, and of any length: a grid too short for
    a frequency lacks it as a missing modality lacks its band.
    Raises ValueError for no modality, an unknown one, or tokens of another number of axes or channels.
    Parameters: 2 k dim, and 2 k^2 for M, k the frequencies of all modalities.  Cost: two band transforms a modality,
    linear in its tokens, and 4 k^2 dim multiply-adds.
    """

    def __init__(self, dim: int, bands: Mapping[str, Line | Plane]):
        super().__init__()
        self.dim, self.bands = dim, dict(bands)
        self.weights = nn.ModuleDict({name: PolarWeight(band.size, dim) for name, band in bands.items()})
        self.interference = Interference(sum(band.size for band in bands.values()))
        sizes = [band.size for band in bands.values()]
        self.starts = dict(zip(bands, [sum(sizes[:i]) for i in range(len(sizes))], strict=True))

    def check(self, tokens: Mapping[str, Tensor]) -> list[str]:
        """Return the modalities present, in the order of `bands`; raise ValueError when the tokens do not fit."""
        if not tokens or not set(tokens) <= set(self.bands):
            raise ValueError(f"expected at least one of {', '.join(self.bands)}, got {', '.join(tokens) or 'none'}")
        for name, x in tokens.items():
            if x.ndim != self.bands[name].axes + 2 or x.shape[-1] != self.dim:
                axes = "n" if self.bands[name].axes == 1 else "rows, columns"
                raise ValueError(f"expected {name} tokens (batch, {axes}, {self.dim}), got {tuple(x.shape)}")
        return [name for name in self.bands if name in tokens]

    def forward(self, tokens: Mapping[str, Tensor]) -> Tokens:
        """Return the mixed tokens of each modality present."""
        present = self.check(tokens)
        shapes = {name: tokens[name].shape[1:-1] for name in present}
        kept = {name: self.bands[name].kept(shapes[name]).to(tokens[name].device) for name in present}
        parts = [self.bands[name].analysis(tokens[name]) / amplitude(shapes[name]) for name in present]
        spectrum = torch.cat([half for i in (0, 1) for half in (part.chunk(2, dim=1)[i] for part in parts)], dim=1)
        pairs = [self.weights[name].pair() for name in present]
        weight = tuple(
            torch.cat([pair[i][kept[name]] for name, pair in zip(present, pairs, strict=True)]) for i in (0, 1)
        )
        result = mixed(spectrum, weight, self._coupling(kept))
        sizes = [len(kept[name]) for name in present]
        re, im = (half.split(sizes, dim=1) for half in result.chunk(2, dim=1))
        return {
            name: self.bands[name].synthesis(torch.cat([a, b], dim=1) * amplitude(shapes[name]), shapes[name])
            for name, a, b in zip(present, re, im, strict=True)
        }

    def _coupling(self, kept: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the rows and columns of M that the present modalities have, other modalities averaged."""
        index = torch.cat([self.starts[name] + places for name, places in kept.items()])
        owner = torch.cat([torch.full_like(places, i) for i, places in enumerate(kept.values())])
        share = torch.where(owner[:, None] == owner, 1.0, 1.0 / max(1, len(kept) - 1))
        re, im = (part[index][:, index] for part in self.interference.pair())
        return re * share.to(re), im * share.to(im)


class CrossModalResonance(nn.Module):
    """A residual block: x_m + dropout(mixing(LayerNorm x)_m), then x_m + dropout(feed-forward(LayerNorm x_m)).

    {modality: tokens} -> the same.  Norms belong to a modality, the pointwise feed-forward (`expansion` times as
    wide) to all.  Arguments, errors, cost: as `CrossModalMixing`, and 2 expansion dim^2 multiply-adds a token.
    """

    def __init__(self, dim: int, bands: Mapping[str, Line | Plane], *, expansion: int = 2, dropout: float = 0.0):
        super().__init__()
        self.mixing = CrossModalMixing(dim, bands)
        self.norms, self.pointwise_norms = (nn.ModuleDict({m: nn.LayerNorm(dim) for m in bands}) for _ in range(2))
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Mapping[str, Tensor]) -> Tokens:
        """Return the tokens of each modality present, mixed with those of the others."""
        self.mixing.check(tokens)
        branch = self.mixing({name: self.norms[name](x) for name, x in tokens.items()})
        mixed_in = {name: x + self.dropout(branch[name]) for name, x in tokens.items()}
        lines = [self.pointwise_norms[name](x).flatten(1, -2) for name, x in mixed_in.items()]
        inner = self.narrow(F.gelu(self.widen(torch.cat(lines, dim=1))))  # one product for the tokens of all
        parts = self.dropout(inner).split([line.shape[1] for line in lines], dim=1)
        return {name: x + part.view_as(x) for (name, x), part in zip(mixed_in.items(), parts, strict=True)}


MODALITIES = ("vision", "audio", "text")


class AudioFrames(nn.Module):
    """Waveform to tokens: log power of linear bins of a recording at unit power, one linear map a frame.

    (batch, samples) -> (batch, frames, dim).  Blind to the level of a recording; what lies 30 dB below its mean power
    counts as silence, whatever the noise of the room.
    """

    def __init__(self, dim: int, frame: int = 256, hop: int = 128):
        super().__init__()
        self.spectrum = SpectrumFrames(frame, hop, floor=1e-3)
        self.projection = nn.Linear(self.spectrum.bins, dim)

    def forward(self, waves: Tensor) -> Tensor:
        waves = waves.float()
        power = self.spectrum(waves * (waves.square().mean(dim=1, keepdim=True) + 1e-12).rsqrt())
        return self.projection((power / 3.0 + 1.0).to(self.projection.weight.dtype))


class Readout(nn.Module):
    """Tokens to one vector: a weighted sum of each channel's kept band, sum_f Re(w_fc z_fc), z in amplitudes.

    (batch, *shape, dim) -> (batch, dim).  At the start close to the mean of the tokens, the weight of frequency 0; the
    other frequencies tell where along the grid something stands.
    Parameters: 2 k dim.  Cost: a band transform.
    """

    def __init__(self, dim: int, band: Line | Plane, start: float = 0.3):
        super().__init__()
        self.band = band
        self.weight = PolarWeight(band.size, dim, scale=start)
        with torch.no_grad():
            self.weight.magnitude[0], self.weight.phase[0] = 1.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[1:-1]
        kept = self.band.kept(shape).to(x.device)
        re, im = (self.band.analysis(x) / amplitude(shape)).chunk(2, dim=1)
        a, b = (part[kept] for part in self.weight.pair())
        return (re * a - im * b).sum(dim=1)


class MultimodalNet(nn.Module):
    """What every multimodal network here shares: the fronts, and the heads behind the tokens that `trunk` returns.

    net(vision=images, audio=waves, text=ids), any subset of them, one batch size -> (batch, num_classes): the sum over
    the modalities present of their logits.  `embed` gives unit vectors (batch, dim), which retrieval compares.
    """

    def __init__(
        self,
        text_vocab_size: int,
        dim: int,
        num_classes: int,
        in_channels: int,
        patch_size: int,
        frame: int,
        hop: int,
    ):
        super().__init__()
        self.fronts = nn.ModuleDict(
            {
                "vision": PatchEmbedding(in_channels, patch_size, dim),
                "audio": AudioFrames(dim, frame, hop),
                "text": HierarchicalEmbedding(text_vocab_size, dim),
            }
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in MODALITIES})
        self.heads = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in MODALITIES})
        self.projections = nn.ModuleDict({name: nn.Linear(dim, dim) for name in MODALITIES})

    def tokens(self, inputs: Mapping[str, Tensor | None]) -> Tokens:
        """Return the tokens of each modality present; raise ValueError for none, an unknown one, or unequal batches."""
        present = {name: value for name, value in inputs.items() if value is not None}
        if not present or not set(present) <= set(MODALITIES):
            raise ValueError(f"expected at least one of {', '.join(MODALITIES)}, got {', '.join(present) or 'none'}")
        if len({len(value) for value in present.values()}) > 1:
            sizes = ", ".join(f"{name} {len(value)}" for name, value in present.items())
            raise ValueError(f"expected one batch size for all modalities, got {sizes}")
        return {name: self.fronts[name](present[name]) for name in MODALITIES if name in present}

    def trunk(self, tokens: Tokens) -> Tokens:
        """Return the tokens of each modality present after the layers."""
        raise NotImplementedError

    def summary(self, name: str, tokens: Tensor) -> Tensor:
        """Return one vector, (batch, dim), of a modality's tokens (batch, *shape, dim): their mean."""
        return tokens.flatten(1, -2).mean(dim=1)

    def summaries(self, tokens: Tokens) -> Tokens:
        """Return (batch, dim) of each modality present, behind the layers."""
        return {name: self.summary(name, self.norms[name](x)) for name, x in self.trunk(tokens).items()}

    def logits(self, summaries: Tokens) -> Tensor:
        """Return (batch, num_classes), the sum of what each modality's summary says."""
        return sum(self.heads[name](x) for name, x in summaries.items())

    def embedding(self, summaries: Tokens) -> Tensor:
        """Return unit vectors (batch, dim): the direction of the sum of the modalities' projections."""
        return F.normalize(sum(self.projections[name](x) for name, x in summaries.items()), dim=-1)

    def forward(self, vision: Tensor | None = None, audio: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Return logits (batch, num_classes).

        vision: images (batch, channels, height, width), sides multiples of the patch; audio: waves (batch, samples);
        text: word numbers (batch, words).  None: the modality is missing.
        """
        return self.logits(self.summaries(self.tokens({"vision": vision, "audio": audio, "text": text})))

    def embed(self, vision: Tensor | None = None, audio: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Return unit vectors (batch, dim), for the arguments of `forward`."""
        return self.embedding(self.summaries(self.tokens({"vision": vision, "audio": audio, "text": text})))


class MultimodalResonanceNet(MultimodalNet):
    """Vision, audio and text, fused by cross-modal resonance in every layer; any subset of them at each call.

    net(vision=images, audio=waves, text=ids) -> (batch, num_classes).  Arguments: text_vocab_size, words;
    vision_input_size, the height and width that the vision band is checked for, other sizes are accepted; hidden_dim,
    channels; vision_frequencies, (k_rows, k_columns) of `Plane`; audio_frequencies and text_frequencies, k of `Line`;
    patch_size in pixels, frame and hop in samples.
    Raises ValueError for an image size that the patch does not divide, and as `MultimodalNet.tokens`.
    Cost: linear in the tokens of all modalities; no attention, no convolution, no product of two tokens.
    """

    def __init__(
        self,
        text_vocab_size: int = 500_000,
        vision_input_size: tuple[int, int] = (224, 224),
        hidden_dim: int = 768,
        num_layers: int = 8,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        patch_size: int = 16,
        frame: int = 256,
        hop: int = 128,
        vision_frequencies: tuple[int, int] = (5, 5),
        audio_frequencies: int = 32,
        text_frequencies: int = 32,
        expansion: int = 2,
        dropout: float = 0.1,
    ):
        if num_layers < 1 or any(size < patch_size or size % patch_size for size in vision_input_size):
            raise ValueError(
                f"expected num_layers >= 1 and a vision_input_size of multiples of patch_size={patch_size}, "
                f"got {num_layers} and {vision_input_size}"
            )
        super().__init__(text_vocab_size, hidden_dim, num_classes, in_channels, patch_size, frame, hop)
        bands = {
            "vision": Plane(*vision_frequencies),
            "audio": Line(audio_frequencies),
            "text": Line(text_frequencies),
        }
        if len(bands["vision"].kept([size // patch_size for size in vision_input_size])) < bands["vision"].size:
            raise ValueError(f"vision_frequencies={vision_frequencies} are above the band of {vision_input_size}")
        self.layers = nn.ModuleList(
            CrossModalResonance(hidden_dim, bands, expansion=expansion, dropout=dropout) for _ in range(num_layers)
        )
        self.readouts = nn.ModuleDict({name: Readout(hidden_dim, band) for name, band in bands.items()})

    def trunk(self, tokens: Tokens) -> Tokens:
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens

    def summary(self, name: str, tokens: Tensor) -> Tensor:
        return self.readouts[name](tokens)
