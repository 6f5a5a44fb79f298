"""Tables of the report on `10_audio`: accuracies of the methods, by held-out speaker, and ablations, in percent."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

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


def tables(cells: Cells) -> dict[str, str]:
    accuracies = {
        "Parameters": "audio.{}.parameters (6)",
        r"Official test (\%)": "audio.{}.official [3]",
        r"Speakers held out (\%)": "audio.{}.speakers [3]",
    }
    speakers = {name: f"audio.{{}}.speaker.{name}" for name in cells.names("audio.resonance.speaker.")}
    ablation = {
        r"Official test (\%)": "audio.ablation.{}.official",
        r"Speakers held out (\%)": "audio.ablation.{}.speakers",
    }
    return {
        "audio": cells.table({"Method": METHODS}, accuracies),
        "audio_speakers": cells.table({"Method": METHODS}, speakers),
        "audio_ablation": cells.table({"Variant": VARIANTS}, ablation),
    }
