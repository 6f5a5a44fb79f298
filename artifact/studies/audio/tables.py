"""Tables of the report on `10_audio`: digits, held-out speakers, environmental sounds, published figures, ablations."""

from __future__ import annotations

import pandas as pd

from artifact.files import PAPER
from artifact.studies.common.latex import Cells, escape, to_latex

METHODS = {
    "resonance": "ResonanceAudioNet",
    "transformer": "Transformer, same frames",
    "convolutions": "Convolutions on log-mel",
    "regression": "Log-mel regression",
    "normalised": "Log-mel, mean removed",
    "regression_augmented": "Log-mel, augmented",
    "normalised_augmented": "Log-mel, mean removed, augmented",
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
    environment = {"Setting": "audio.{}.setting", r"ESC-10 (\%)": "audio.{}.esc10 [3]"}
    if cells.names("audio.", ".esc50"):
        environment[r"ESC-50 (\%)"] = "audio.{}.esc50 [3]"
    speakers = {name: f"audio.{{}}.speaker.{name}" for name in cells.names("audio.resonance.speaker.")}
    ablation = {r"Official test (\%)": "audio.ablation.{}.official [3]"}
    return {
        "audio": cells.table({"Method": METHODS}, accuracies),
        "audio_environment": cells.table({"Method": METHODS}, environment),
        "audio_published": published(),
        "audio_speakers": cells.table({"Method": METHODS}, speakers),
        "audio_ablation": cells.table({"Variant": VARIANTS}, ablation),
    }


def published() -> str:
    """Published accuracies on ESC-10, each with its source."""
    rows = [
        {
            "Method": rf"{escape(row['method'])}~\cite{{{row['key']}}}",
            r"ESC-10 (\%)": rf"\printednum{{{row['accuracy']:.1f}}}",
            "Read from": escape(row["read_from"]),
        }
        for _, row in pd.read_csv(PAPER / "published_esc10.csv").iterrows()
    ]
    return to_latex(rows, "@{}lrl@{}")
