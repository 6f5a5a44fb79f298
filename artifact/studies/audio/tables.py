"""The report's tables of `10_audio` (`tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex, with_interval

METHODS = {
    "resonance": "ResonanceAudioNet",
    "transformer": "Transformer, same frames",
    "regression": "Log-mel regression",
    "normalised": "Log-mel regression, mean removed",
}
ARMS = {
    "resonance": "ResonanceAudioNet",
    "learned": "Learned complex frames",
    "zero_phases": "Phases kept at zero",
    "no_interference": "No interference",
    "no_mixing": "No mixing at all",
    "no_augmentation": "No augmentation",
}


def audio_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables of accuracies, of speakers and of ablations, in percent; none before the notebook has run."""
    if "audio.resonance.official" not in by_key.index:
        return {}
    names = [key.removeprefix("audio.resonance.speaker.") for key in by_key.index if ".resonance.speaker." in key]
    value, rows, speakers, arms = by_key["value"], [], [], []
    for key, label in METHODS.items():
        prefix = f"audio.{key}."
        rows.append(
            {
                "Method": label,
                "Parameters": number(by_key.loc[prefix + "parameters", "value"], 6),
                r"Official test (\%)": with_interval(by_key.loc[prefix + "official"], 3),
                r"Speakers held out (\%)": with_interval(by_key.loc[prefix + "speakers"], 3),
            }
        )
        shares = {name: number(by_key.loc[f"{prefix}speaker.{name}", "value"], 3) for name in names}
        speakers.append({"Method": label, **shares})
    for key, label in ARMS.items():
        if f"audio.ablation.{key}.official" in by_key.index:
            shares = (value.get(f"audio.ablation.{key}.{of}") for of in ("official", "speakers"))
            columns = ("Arm", r"Official test (\%)", r"Speakers held out (\%)")
            arms.append(dict(zip(columns, (label, *(number(share, 3) for share in shares)), strict=True)))
    return {
        "audio": to_latex(pd.DataFrame(rows), "@{}lrll@{}"),
        "audio_speakers": to_latex(pd.DataFrame(speakers), "@{}l" + "r" * len(names) + "@{}"),
        "audio_ablation": to_latex(pd.DataFrame(arms), "@{}lrr@{}"),
    }
