"""MultimodalResonanceNet: vision, audio and text in one network, any subset of them at each call.

    vision   patches on a plane            PatchEmbedding, no convolution
    audio    frames of log power, a line   SpectrumFrames, linear bins, no mel scale
    text     words on a line               HierarchicalEmbedding

Each modality stays on its own grid; the layers let their bands interfere (`cross_modal`).  At the end every modality
gives its own evidence, logits that add up as log-odds do: one that is missing adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cross_modal import CrossModalResonance, Line, Plane, Tokens, amplitude
from .frames import SpectrumFrames
from .patches import PatchEmbedding
from .polar import PolarWeight
from .vocabulary import HierarchicalEmbedding

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
