"""Tables of the report on `10_audio`: accuracies of the methods, by held-out speaker, and ablations, in percent."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

METHODS = {
    "resonance": "ResonanceAudioNet",
    "transformer": "Transformer, same frames",
    "regression": "Log-mel regression",
    "normalised": "Log-mel regression, mean removed",
}
VARIANTS = {
    "resonance": "ResonanceAudioNet",
    "learned": "Learned complex frames",
    "zero_phases": "Phases fixed at zero",
    "no_interference": "No interference",
    "no_mixing": "No mixing at all",
    "no_augmentation": "No augmentation",
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    names = cells.names("audio.resonance.speaker.")
    accuracies = [
        {
            "Method": label,
            "Parameters": cells.number(f"audio.{key}.parameters", 6),
            r"Official test (\%)": cells.interval(f"audio.{key}.official", 3),
            r"Speakers held out (\%)": cells.interval(f"audio.{key}.speakers", 3),
        }
        for key, label in METHODS.items()
    ]
    speakers = [
        {"Method": label} | {name: cells.number(f"audio.{key}.speaker.{name}") for name in names}
        for key, label in METHODS.items()
    ]
    ablation = [
        {
            "Variant": label,
            r"Official test (\%)": cells.number(f"audio.ablation.{key}.official"),
            r"Speakers held out (\%)": cells.number(f"audio.ablation.{key}.speakers"),
        }
        for key, label in VARIANTS.items()
    ]
    return {
        "audio": to_latex(accuracies, "@{}lrll@{}"),
        "audio_speakers": to_latex(speakers, "@{}l" + "r" * len(names) + "@{}"),
        "audio_ablation": to_latex(ablation, "@{}lrr@{}"),
    }
