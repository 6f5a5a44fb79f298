"""Vision, audio and text in one network, fused by cross-modal resonance: any subset of them at each call."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .audio import FrameTokens, SpectrumFrames, mean_token
from .band import Band, make_band, next_power_of_two
from .layers import FeedForward, length_mask
from .plane import PlaneBand, plane_analysis, plane_synthesis
from .polar import Interference, PolarWeight, mixed
from .settings import WithSettings, placed
from .spectral import packed_analysis, packed_synthesis
from .vision import PatchEmbedding
from .vocabulary import HierarchicalEmbedding

MODALITIES = ("vision", "audio", "text")
Input = Tensor | None
Counts = Mapping[str, Tensor] | None
Lengths = Counts | Tensor | Iterable[int]
Tokens = dict[str, Tensor]  # modality: (batch, n, dim) on a line, (batch, rows, columns, dim) on a plane


def check_present(names: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError unless names are some of the known ones, at least one."""
    if not names or not set(names) <= set(known):
        raise ValueError(f"expected at least one of {', '.join(known)}, got {', '.join(names) or 'none'}")


class Line:
    """The k lowest frequencies of tokens on a line, as amplitudes: (batch, n, d) <-> (batch, 2k, d).

    s = n / sqrt(N) on the grid of N samples turns coefficients into amplitudes: at frequency 0 the mean, for any n.  A
    frequency that a short grid does not hold has amplitude zero.  Real parts come before imaginary ones.
    """

    axes = ("n",)

    def __init__(self, k: int):
        if k < 1:
            raise ValueError(f"expected at least 1 frequency, got {k}")
        self.size = k

    def _band(self, n: int) -> tuple[Band, float]:
        grid = next_power_of_two(n)
        return make_band(n, min(self.size, grid // 2 + 1), grid), n / math.sqrt(grid)

    def analysis(self, x: Tensor) -> Tensor:
        """Amplitudes z = A x / s, (batch, 2k, d)."""
        band, s = self._band(x.shape[1])
        halves = packed_analysis(x, band, "auto").unflatten(1, (2, band.k)) / s
        return F.pad(halves, (0, 0, 0, self.size - band.k)).flatten(1, 2)

    def synthesis(self, amplitudes: Tensor, shape: Sequence[int]) -> Tensor:
        """S s applied to amplitudes, (batch, n, d), for shape (n,)."""
        band, s = self._band(*shape)
        held = amplitudes.unflatten(1, (2, self.size))[:, :, : band.k].flatten(1, 2)
        return packed_synthesis(held * s, band, "auto")


class PaddedLine(Line):
    """The first `count` (batch,) tokens of each sample, on the grids that they have alone; zero behind them."""

    def __init__(self, k: int, count: Tensor, x: Tensor):
        super().__init__(k)
        self.count = n = count[:, None, None]
        f, t, powers = (torch.arange(stop, device=x.device) for stop in (k, x.shape[1], 62))
        f, grid = f[:, None], 2 ** (n > 2**powers).sum(2, keepdim=True)  # (k, 1), (batch, 1, 1)
        angle = (f * t % grid).to(torch.promote_types(x.dtype, torch.float32)) * (2 * math.pi) / grid  # (batch, k, n)
        held, real = (t < n) & (2 * f <= grid), (f == 0) | (2 * f == grid)  # real: DC and Nyquist
        self.table = torch.cat([angle.cos() * held, -angle.sin() * (held & ~real)], dim=1).to(x.dtype)
        self.scale = torch.where(real, 1, 2).repeat(1, 2, 1) * n / grid  # c s / sqrt(N), (batch, 2k, 1)

    def analysis(self, x: Tensor) -> Tensor:
        return self.table @ (x / self.count)

    def synthesis(self, amplitudes: Tensor, shape: Sequence[int]) -> Tensor:
        return self.table.mT @ (amplitudes * self.scale.to(amplitudes.dtype))


class Plane:
    """The lowest frequencies of tokens on a plane, as amplitudes: (batch, rows, columns, d) <-> (batch, 2K, d).

    The half plane of `plane`, on the plane's own grid, so s = sqrt(rows columns); frequencies not held: as `Line`.
    """

    axes = ("rows", "columns")

    def __init__(self, k_rows: int, k_columns: int):
        if min(k_rows, k_columns) < 1:
            raise ValueError(f"expected at least 1 frequency each way, got {k_rows} and {k_columns}")
        self.frequencies = k_rows, k_columns
        self.size = PlaneBand(1, 1, k_rows, k_columns).k

    def holds_all(self, shape: Sequence[int]) -> bool:
        """Whether a plane of (rows, columns) tokens holds every frequency of the band."""
        return PlaneBand(*shape, *self.frequencies).held == self.size

    def analysis(self, x: Tensor) -> Tensor:
        """Amplitudes z = A x / s, (batch, 2K, d)."""
        return plane_analysis(x, self.frequencies) / math.sqrt(x.shape[1] * x.shape[2])

    def synthesis(self, amplitudes: Tensor, shape: Sequence[int]) -> Tensor:
        """S s applied to amplitudes, (batch, *shape, d)."""
        return plane_synthesis(amplitudes * math.sqrt(math.prod(shape)), *shape, self.frequencies)


def within(band: Line | Plane, x: Tensor, count: Tensor | None) -> Line | Plane:
    """The band of the first `count` tokens of each sample of x, of all for None."""
    return band if count is None else PaddedLine(band.size, count, x)


class CrossModalMixing(WithSettings):
    """Mix the tokens of every modality present through one joint interference matrix (eq:crossmodal).

        y_m = S_m s_m [ M_mm W_m z_m + 1/(P - 1) sum_{m' != m} M_mm' W_m' z_m' ],    z_m = A_m x_m / s_m

    W_m: polar weights of modality m; M_mm', a block of M, couples the band of m' to that of m; P: the number of
    modalities present.  The blocks of a missing modality are left out; a modality alone is `BandMixing` with M_mm.
    {modality: tokens} -> the same shapes, linear in the tokens; at least one of `bands`, any length.
    Raises ValueError for no modality, an unknown one, or tokens of another number of axes or channels.
    Parameters: 2 k dim, and 2 k^2 for M, of k frequencies in all.  Cost: two band transforms a modality, 4 k^2 dim.
    """

    defines = ("frequencies",)

    def __init__(self, dim: int, bands: Mapping[str, Line | Plane]):
        super().__init__()
        self.dim, self.bands = dim, dict(bands)
        self.frequencies = {name: getattr(band, "frequencies", band.size) for name, band in bands.items()}
        self.weights = nn.ModuleDict({name: PolarWeight(band.size, dim) for name, band in bands.items()})
        self.interference = Interference(sum(band.size for band in bands.values()))

    def check(self, tokens: Mapping[str, Tensor]) -> list[str]:
        """The modalities present, in the order of `bands`; raises ValueError when the tokens do not fit."""
        check_present(tokens, self.bands)
        for name, x in tokens.items():
            axes = self.bands[name].axes
            if x.ndim != len(axes) + 2 or x.shape[-1] != self.dim:
                raise ValueError(f"expected {name} tokens (batch, {', '.join(axes)}, {self.dim}), got {(*x.shape,)}")
        return [name for name in self.bands if name in tokens]

    def forward(self, tokens: Mapping[str, Tensor], bands: Mapping[str, Line | Plane] | None = None) -> Tokens:
        """Tokens of each modality present, mixed with those of the others; `bands` in place of its own for padding."""
        present, bands = self.check(tokens), bands or self.bands
        parts = [bands[name].analysis(tokens[name]).unflatten(1, (2, self.bands[name].size)) for name in present]
        amplitudes = torch.cat(parts, dim=2).flatten(1, 2)  # (batch, 2k, dim), k of the modalities present
        pairs = zip(*(self.weights[name].pair() for name in present), strict=True)
        weight = tuple(torch.cat(halves) for halves in pairs)  # (k, dim) each
        result = mixed(amplitudes, weight, self._coupling(present)).unflatten(1, (2, -1))
        parts = result.split([self.bands[name].size for name in present], dim=2)  # (batch, 2, k_m, dim)
        named = zip(present, parts, strict=True)
        return {name: bands[name].synthesis(part.flatten(1, 2), tokens[name].shape[1:-1]) for name, part in named}

    def _coupling(self, present: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Rows and columns of M of the modalities present, blocks between two of them times 1/(P - 1): (k, k) each."""
        sizes, device = [band.size for band in self.bands.values()], self.interference.re.device
        own = dict(zip(self.bands, torch.arange(sum(sizes), device=device).split(sizes), strict=True))
        index = torch.cat([own[name] for name in present])  # (k,)
        owner = torch.cat([torch.full_like(own[name], i) for i, name in enumerate(present)])
        same = owner[:, None] == owner
        re, im = (part[index][:, index] for part in self.interference.pair())
        share = torch.where(same, 1.0, 1.0 / max(1, len(present) - 1)).to(re)
        return re * share, im * share


class CrossModalResonance(nn.Module):
    """A residual block: x_m + dropout(mixing(LayerNorm_m x)_m), then one pointwise feed-forward for all modalities.

    Arguments, shapes, errors, cost: as `CrossModalMixing`, and 4 dim^2 multiply-adds a token.
    """

    def __init__(self, dim: int, bands: Mapping[str, Line | Plane], *, dropout: float = 0.0):
        super().__init__()
        self.mixing = CrossModalMixing(dim, bands)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in bands})
        self.feed_forward = FeedForward(dim, 2 * dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Mapping[str, Tensor], bands: Mapping[str, Line | Plane] | None = None) -> Tokens:
        self.mixing.check(tokens)
        branch = self.mixing({name: self.norms[name](x) for name, x in tokens.items()}, bands)
        return {name: self.feed_forward(x + self.dropout(branch[name])) for name, x in tokens.items()}


class Readout(nn.Module):
    """Tokens to one vector: a weighted sum of each channel's kept band, sum_f Re(w_fc z_fc), z in amplitudes.

    (batch, *shape, dim) -> (batch, dim), at the start close to the mean.  Parameters: 2 k dim.  Cost: a transform.
    """

    def __init__(self, dim: int, band: Line | Plane):
        super().__init__()
        self.band = band
        self.weight = PolarWeight(band.size, dim, scale=0.3)
        with torch.no_grad():
            self.weight.magnitude[0], self.weight.phase[0] = 1.0, 0.0

    def forward(self, x: Tensor, count: Tensor | None = None) -> Tensor:
        re, im = within(self.band, x, count).analysis(x).chunk(2, dim=1)  # (batch, k, dim)
        a, b = self.weight.pair()
        return (re * a - im * b).sum(dim=1)


class MultimodalNet(nn.Module):
    """Fronts and heads that every multimodal network here shares, around the tokens that `trunk` returns.

    Arguments: as `MultimodalResonanceNet`.
    """

    def __init__(
        self,
        text_vocab_size: int,
        dim: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        patch_size: int = 16,
        frame: int = 256,
        hop: int = 128,
    ):
        super().__init__()
        # Floor 1e-3: bins 30 dB below a recording's mean power count as silent, whatever the noise of the room.
        frames = FrameTokens(SpectrumFrames(frame, hop, floor=1e-3), dim)
        patches, words = PatchEmbedding(in_channels, patch_size, dim), HierarchicalEmbedding(text_vocab_size, dim)
        self.fronts = nn.ModuleDict({"vision": patches, "audio": frames, "text": words})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in MODALITIES})
        self.heads = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in MODALITIES})
        self.projections = nn.ModuleDict({name: nn.Linear(dim, dim) for name in MODALITIES})

    def tokens(self, inputs: Mapping[str, Tensor | None], lengths: Counts = None) -> Tokens:
        """Tokens of each modality present; raises ValueError for none, an unknown one, or unequal batches."""
        present, lengths = {name: value for name, value in inputs.items() if value is not None}, lengths or {}
        check_present(present, MODALITIES)
        if not set(lengths) <= set(present) - {"vision"}:
            raise ValueError(f"expected lengths of audio or text present, got {', '.join(lengths)}")
        sizes = {name: value.shape[0] for name, value in present.items()}
        if any(size != next(iter(sizes.values())) for size in sizes.values()):
            raise ValueError(f"expected one batch size for all modalities, got {sizes}")
        more = {name: (own,) for name, own in lengths.items()}
        return {name: self.fronts[name](present[name], *more.get(name, ())) for name in MODALITIES if name in present}

    def trunk(self, tokens: Tokens, counts: Counts = None) -> Tokens:
        """Tokens of each modality present after the layers; behind the first `counts`, (batch,), is padding."""
        raise NotImplementedError

    def summary(self, name: str, tokens: Tensor, count: Tensor | None = None) -> Tensor:
        """One vector, (batch, dim), of a modality's tokens (batch, *shape, dim), of the first `count`: their mean."""
        inside = tokens if count is None else tokens.masked_fill(~length_mask(tokens, count), 0.0)
        return mean_token(inside.flatten(1, -2), count)

    def summaries(self, tokens: Tokens, counts: Counts = None) -> Tokens:
        """Summary (batch, dim) of each modality present, after the layers."""
        after, counts = self.trunk(tokens, counts), counts or {}
        return {name: self.summary(name, self.norms[name](x), counts.get(name)) for name, x in after.items()}

    def logits(self, summaries: Tokens) -> Tensor:
        """Sum of the logits of the modalities present, (batch, num_classes)."""
        return sum(self.heads[name](x) for name, x in summaries.items())

    def embedding(self, summaries: Tokens) -> Tensor:
        """Direction of the sum of the modalities' projections: unit vectors (batch, dim)."""
        return F.normalize(sum(self.projections[name](x) for name, x in summaries.items()), dim=-1)

    def forward(self, vision: Input = None, audio: Input = None, text: Input = None, lengths: Lengths = None) -> Tensor:
        """Logits (batch, num_classes).

        vision: images (batch, channels, height, width), sides multiples of the patch; audio: waves (batch, samples);
        text: word ids (batch, words).  None: the modality is missing.  lengths, {"audio": samples, "text": words}, of
        (batch,) each: where padding begins, which has no effect; those of one modality alone need no name.
        """
        return self.logits(self._read({"vision": vision, "audio": audio, "text": text}, lengths))

    def embed(self, vision: Input = None, audio: Input = None, text: Input = None, lengths: Lengths = None) -> Tensor:
        """Unit vectors (batch, dim), for the arguments of `forward`."""
        return self.embedding(self._read({"vision": vision, "audio": audio, "text": text}, lengths))

    def _read(self, inputs: Mapping[str, Input], lengths: Lengths) -> Tokens:
        if not isinstance(lengths, Mapping | None):
            lengths = {name: lengths for name in ("audio", "text") if inputs[name] is not None}
            if len(lengths) != 1:
                raise ValueError(f"expected lengths by name, for {len(lengths)} modalities")
        tokens, counts = self.tokens(inputs, lengths), {}
        for name, own in (lengths or {}).items():
            own = torch.as_tensor(own, device=tokens[name].device).long()
            counts[name] = self.fronts[name].frame_count(own) if name == "audio" else own
        return self.summaries(tokens, counts)


class MultimodalResonanceNet(MultimodalNet):
    """Classify from vision, audio and text, fused by cross-modal resonance in every layer; any subset at each call.

    net(vision=images, audio=waves, text=ids) -> (batch, num_classes).  Arguments: text_vocab_size, words;
    vision_input_size, for which the vision band is checked, other sizes are accepted; hidden_dim, channels;
    vision_frequencies of `Plane`; audio_frequencies and text_frequencies of `Line`; and of `MultimodalNet` num_classes,
    in_channels, patch_size in pixels, frame and hop in samples.
    `torch.export` leaves the batch open and fixes sizes and lengths: the grid of a modality's band is made from them.
    Raises ValueError for sizes that do not fit, and as `MultimodalNet.tokens`.  Cost: linear in the tokens.

    >>> net = MultimodalResonanceNet(1000, (32, 32), 16, 1, vision_frequencies=(1, 1), num_classes=3)
    >>> net(audio=torch.randn(2, 4000), text=torch.randint(1000, (2, 7))).shape  # no image
    torch.Size([2, 3])
    """

    @placed
    def __init__(
        self,
        text_vocab_size: int = 500_000,
        vision_input_size: tuple[int, int] = (224, 224),
        hidden_dim: int = 768,
        num_layers: int = 8,
        *,
        vision_frequencies: tuple[int, int] = (5, 5),
        audio_frequencies: int = 32,
        text_frequencies: int = 32,
        dropout: float = 0.1,
        device=None,
        dtype=None,
        **options,
    ):
        super().__init__(text_vocab_size, hidden_dim, **options)
        patch_size = self.fronts["vision"].patch_size
        if num_layers < 1 or any(size < patch_size or size % patch_size for size in vision_input_size):
            expected = f"num_layers >= 1 and a vision_input_size of multiples of patch_size={patch_size}"
            raise ValueError(f"expected {expected}, got {num_layers} and {vision_input_size}")
        plane = Plane(*vision_frequencies)
        if not plane.holds_all([size // patch_size for size in vision_input_size]):
            raise ValueError(f"vision_frequencies={vision_frequencies} are above the band of {vision_input_size}")
        bands = {"vision": plane, "audio": Line(audio_frequencies), "text": Line(text_frequencies)}
        self.layers = nn.ModuleList(CrossModalResonance(hidden_dim, bands, dropout=dropout) for _ in range(num_layers))
        self.readouts = nn.ModuleDict({name: Readout(hidden_dim, band) for name, band in bands.items()})

    def trunk(self, tokens: Tokens, counts: Counts = None) -> Tokens:
        bands = {name: within(self.readouts[name].band, x, (counts or {}).get(name)) for name, x in tokens.items()}
        for layer in self.layers:
            tokens = layer(tokens, bands)
        return tokens

    def summary(self, name: str, tokens: Tensor, count: Tensor | None = None) -> Tensor:
        return self.readouts[name](tokens, count)
