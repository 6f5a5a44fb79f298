"""Tables of the report on `11_multimodal`, from its measures."""

from __future__ import annotations

from itertools import permutations

import pandas as pd

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


def multimodal_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the tables "fusion" and "retrieval", if their notebook has run; by_key: the measures, indexed by key."""
    from artifact.pipeline.tables import number, to_latex, with_interval

    if "fusion.tokens" not in by_key.index:
        return {}
    value = by_key["value"]

    def cell(key: str, figures: int = 3) -> str:
        return number(value[key], figures)

    accuracy = [
        {"Given": label} | {head: cell(f"fusion.resonance.{key}.{given}") for key, head in CONDITIONS.items()}
        for given, label in COMBINATIONS.items()
    ]
    retrieval = []
    for a, b in permutations(("vision", "audio", "text"), 2):
        for model, label in MODELS.items():
            key = f"retrieval.{model}.{a}.{b}"
            row = {"Query": COMBINATIONS[a], "Gallery": COMBINATIONS[b], "Model": label}
            row |= {f"R@{k}": cell(f"{key}.r{k}") for k in (1, 5, 10)}
            retrieval.append(row | {"mAP [95\\% interval]": with_interval(by_key.loc[f"{key}.map"], 3)})
    margins = [
        {"Condition": row.removeprefix("margin.resonance.").replace("_", " ")}
        | {MODELS[model]: with_interval(by_key.loc[row.replace("resonance", model)], 2) for model in MODELS}
        for row in by_key.index
        if row.startswith("margin.resonance.")
    ]
    return {
        "fusion": to_latex(pd.DataFrame(accuracy), "@{}lrrrrrrr@{}"),
        "margins": to_latex(pd.DataFrame(margins), "@{}llll@{}"),
        "retrieval": to_latex(pd.DataFrame(retrieval), "@{}lllrrrl@{}"),
    }
