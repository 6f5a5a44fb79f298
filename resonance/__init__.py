"""Resonance: a frequency-domain neural network, and an honest test of every claim printed about it.

Read the files in this order:

    band            the kept frequencies of a grid
    constants       tables that transforms multiply by, kept within a bound
    dense           band transforms by one matrix product
    linear_time     band transforms in time linear in n
    spectral        analysis and synthesis, and the choice of engine
    polar           polar weights and interference
    layers          BandMixing, ResonanceLayer
    selection       which frequencies to keep: learned, or by energy
    keys, memory    HolographicMemory: patterns recorded as intensities, read back by reference
    recollection    how a model reads its memory
    holography      traces and holograms of every kind: one algebra; cleanup: patterns of a codebook read from one trace
    models          ResonanceNet, ResonanceTimeSeriesNet
    plane, vision   PlaneMixing, ResonanceVisionNet: images mixed in two dimensions
    augmentation, baselines_vision, image_protocol   images moved and marred, peers, and how both are measured
    long_context    LongContextResonanceNet: chunks, bridges, reversible training, streaming
    vocabulary      HierarchicalEmbedding, digits of ids as waves; output_head: HierarchicalHead, its counterpart
    batches, randomness, health, checkpoint, progress    what training is made of
    training        PolarTrainer; natural: the natural polar step, and ResonanceTrainer, which takes it
    data, corpora   public data, verified; forecasting: the protocol and the closed form; baselines: peers
    series, forecast_choice, forecast_study, quantiles   a study of any series: choice, peers, test, intervals
    patches, frames what images and sound are cut into; classification: how classifiers are trained, all alike
    audio           ResonanceAudioNet; recordings, audio_augmentation, esc50, baselines_audio, audio_tasks: sound
    multimodal      MultimodalResonanceNet, on cross_modal; paired_digits, fusion, retrieval: its task, training, test
    causal          CausalResonance, on causal_poles (stable poles), causal_engines (FFT, chunks) and causal_mixing
    holographic_recall   HolographicRecall, the causal hologram; associative_recall: its task
    language, text_corpus   ResonanceLM, and its texts
    live_audio, live_forecasting   heard frame by frame, hour by hour
    documents       passages and classifiers; baselines_documents: peers; document_tasks: how they are measured
    cartesian, gradients, gradient_scaling, ablation, ablation_tasks, complexity, graph, recall, facts, capacity,
    image_recall                                 what the notebooks measure
    information, predictive, approximation       what a band keeps of a signal, and of what a past tells
    timing, probe, benchmark                     seconds and bytes, against the best peers
    word_model, large_vocabulary                 words told from the words before, and what 07 measures
    causal_study, causal_benchmark, baselines_causal                what 15 measures, and its peer
    recall_models, recall_capacity, recall_study                    what 16 measures
    language_study, language_protocol, language_writing, language_ablations, language_tasks, baselines_language   13, 05
    live_study, live_serving, baselines_live                        what 14 measures
    statistics, ledger, plots and plots_*        numbers, verdicts, figures
    tables, report, readme, runner               how a run becomes a report
    paths, processes                             where files stand, and jobs that end with their parent

Names load on first use, so that importing one part does not load, or depend on, the others.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "BandMixing": "layers",
    "CartesianWeight": "cartesian",
    "CausalMixing": "causal_mixing",
    "CausalResonance": "causal",
    "DocumentClassifier": "documents",
    "EnergySelection": "selection",
    "HierarchicalEmbedding": "vocabulary",
    "HierarchicalHead": "output_head",
    "HolographicRecall": "holographic_recall",
    "HolographicMemory": "memory",
    "Interference": "polar",
    "LearnedSelection": "selection",
    "LiveAudioNet": "live_audio",
    "LiveForecaster": "live_forecasting",
    "LongContextResonanceNet": "long_context",
    "MultimodalResonanceNet": "multimodal",
    "NaturalPolarTrainer": "natural",
    "PatchEmbedding": "patches",
    "PlaneMixing": "plane",
    "PolarTrainer": "training",
    "PolarWeight": "polar",
    "Recollection": "recollection",
    "ResonanceAudioNet": "audio",
    "ResonanceLM": "language",
    "ResonanceLayer": "layers",
    "ResonanceNet": "models",
    "ResonanceTimeSeriesNet": "models",
    "ResonanceTrainer": "natural",
    "ResonanceVisionNet": "vision",
    "SelectiveMixing": "selection",
    "SpectrumFrames": "frames",
    "TransformerEncoder": "baselines",
    "DLinear": "baselines",
    "Ridge": "baselines",
    "analysis": "spectral",
    "load_books": "corpora",
    "load_etth1": "data",
    "load_fsdd": "corpora",
    "load_mnist": "data",
    "load_movie_reviews": "corpora",
    "load_tinyshakespeare": "text_corpus",
    "natural_polar_step": "polar",
    "synthesis": "spectral",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
