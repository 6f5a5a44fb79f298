"""Tables of the report on `17_state_tracking`: exact extractions and words right throughout; the peers beside them."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

TASKS = {
    "parity": "parity",
    "mod5": "addition mod 5",
    "mod60": "addition mod 60",
    "s3": "$S_3$",
    "a5": "$A_5$",
    "s5": "$S_5$",
}
MODELS = {
    "plane": "Plane",
    "space": "Space",
    "fixed": "Fixed poles",
    "mamba2": "Mamba-2",
    "gdn": "Gated DeltaNet",
    "lstm": "LSTM",
    "transformer": "Transformer",
}
OURS = ("plane", "space")


def tables(cells: Cells) -> dict[str, str]:
    own = {
        f"{MODELS[model]}: {head}": f"tracking.{{}}.{model}.{key}"
        for model in OURS
        for head, key in (
            (r"exact (\%)", "exact"),
            ("trainings", "trainings"),
            (r"all at 256 (\%)", "all_right.256 [3]"),
        )
    }
    peers = {name: f"tracking.{{}}.{model}.right.256" for model, name in MODELS.items()}
    return {"tracking": cells.table({"Task": TASKS}, own), "tracking_peers": cells.table({"Task": TASKS}, peers)}
