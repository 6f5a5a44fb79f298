"""Resonance: sequences mixed by a few learned frequencies instead of attention.

An hour's reading, about 2,000 lines, smallest part to whole (labels such as eq:layer are the report's):
    band, spectral         the kept frequencies of a grid; analysis and synthesis, by one of three engines (engines/)
    polar                  complex weights as magnitude and phase; interference between frequencies
    layers                 BandMixing, ResonanceLayer, FeedForward
    memory, models         HolographicMemory; ResonanceNet, DocumentClassifier
    causal_mixing, causal  damped resonators, the causal form; CausalResonance
    recall                 HolographicRecall: a write and a read of a causal hologram at every token
The rest: turning frames and automata, selection, long contexts, images (plane, vision), sound, text, several
modalities, series, comb, live, training/, pretrained; distributed, imported by its full name.
"""

from .audio import ResonanceAudioNet, SpectrumFrames
from .causal import CausalResonance
from .causal_mixing import CausalMixing
from .forecaster import Forecast, Forecaster
from .language import ResonanceLM
from .layers import BandMixing, ResonanceLayer
from .live import LiveAudioNet, LiveForecaster
from .long_context import LongContextResonanceNet
from .memory import HolographicMemory
from .models import DocumentClassifier, Recollection, ResonanceNet
from .multimodal import MultimodalResonanceNet
from .output_head import HierarchicalHead
from .plane import PlaneMixing
from .polar import Interference, PolarWeight, natural_polar_step
from .pretrained import from_pretrained, save_pretrained
from .recall import HolographicRecall
from .selection import EnergySelection, LearnedSelection, SelectiveMixing
from .spectral import analysis, synthesis
from .time_series import ResonanceTimeSeriesNet
from .training.natural import NaturalPolarTrainer, ResonanceTrainer
from .training.trainer import PolarTrainer
from .turning import TurningMixing
from .vision import PatchEmbedding, ResonanceVisionNet
from .vocabulary import HierarchicalEmbedding

__version__ = "0.1.0"
__all__ = [
    "BandMixing", "CausalMixing", "CausalResonance", "DocumentClassifier", "EnergySelection", "Forecast", "Forecaster",
    "HierarchicalEmbedding", "HierarchicalHead", "HolographicMemory", "HolographicRecall", "Interference",
    "LearnedSelection", "LiveAudioNet", "LiveForecaster", "LongContextResonanceNet", "MultimodalResonanceNet",
    "NaturalPolarTrainer", "PatchEmbedding", "PlaneMixing", "PolarTrainer", "PolarWeight", "Recollection",
    "ResonanceAudioNet", "ResonanceLM", "ResonanceLayer", "ResonanceNet", "ResonanceTimeSeriesNet", "ResonanceTrainer",
    "ResonanceVisionNet", "SelectiveMixing", "SpectrumFrames", "TurningMixing", "analysis", "from_pretrained",
    "natural_polar_step", "save_pretrained", "synthesis",
]  # fmt: skip
