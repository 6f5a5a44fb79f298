"""Tables of the report on `11_multimodal`: accuracy by modalities given, margins over the best alone, retrieval."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

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


def tables(cells: Cells) -> dict[str, str]:
    accuracy = {head: f"fusion.resonance.{key}.{{}}" for key, head in CONDITIONS.items()}
    conditions = {name: name.replace("_", " ") for name in cells.names("margin.resonance.")}
    margins = {label: f"margin.{model}.{{}} [2]" for model, label in MODELS.items()}
    single = {key: COMBINATIONS[key] for key in ("vision", "audio", "text")}
    retrieval = {f"R@{k}": f"retrieval.{{2}}.{{0}}.{{1}}.r{k}" for k in (1, 5, 10)}
    retrieval["mAP [95\\% interval]"] = "retrieval.{2}.{0}.{1}.map [3]"
    return {
        "fusion": cells.table({"Given": COMBINATIONS}, accuracy),
        "margins": cells.table({"Condition": conditions}, margins),
        "retrieval": cells.table({"Query": single, "Gallery": single, "Model": MODELS}, retrieval),
    }
