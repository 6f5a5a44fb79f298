"""Tables of the report on `11_multimodal`: accuracy by modalities given, margins over the best alone, retrieval."""

from __future__ import annotations

from itertools import permutations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

MODELS = {"resonance": "Cross-modal resonance", "late": "Late fusion", "transformer": "Transformer"}
COMBINATIONS = {
    "vision": "image",
    "audio": "sound",
    "text": "text",
    "vision_audio": "image, sound",
    "vision_text": "image, text",
    "audio_text": "sound, text",
    "vision_audio_text": "all three",
}
CONDITIONS = {
    "clean": "Clean",
    "vision_level_2": "Image 2",
    "audio_level_2": "Sound 2",
    "text_level_2": "Text 2",
    "all_level_1": "All 1",
    "all_level_2": "All 2",
    "all_level_3": "All 3",
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    accuracy = [
        {"Given": label} | {head: cells.number(f"fusion.resonance.{key}.{given}") for key, head in CONDITIONS.items()}
        for given, label in COMBINATIONS.items()
    ]
    margins = [
        {"Condition": name.replace("_", " ")}
        | {label: cells.interval(f"margin.{model}.{name}", 2) for model, label in MODELS.items()}
        for name in cells.names("margin.resonance.")
    ]
    retrieval = [
        {"Query": COMBINATIONS[a], "Gallery": COMBINATIONS[b], "Model": label}
        | {f"R@{k}": cells.number(f"retrieval.{model}.{a}.{b}.r{k}") for k in (1, 5, 10)}
        | {"mAP [95\\% interval]": cells.interval(f"retrieval.{model}.{a}.{b}.map", 3)}
        for a, b in permutations(("vision", "audio", "text"), 2)
        for model, label in MODELS.items()
    ]
    return {
        "fusion": to_latex(accuracy, "@{}lrrrrrrr@{}"),
        "margins": to_latex(margins, "@{}llll@{}"),
        "retrieval": to_latex(retrieval, "@{}lllrrrl@{}", labels=3),
    }
