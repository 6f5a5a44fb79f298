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
OURS = {"plane": "plane", "space": "space"}


def tables(cells: Cells) -> dict[str, str]:
    own = {
        r"Exact at $10^6$ (\%)": "tracking.{}.{}.exact [3]",
        "Trainings": "tracking.{}.{}.trainings",
        r"All right at 256 (\%)": "tracking.{}.{}.all_right.256 [3]",
        "Seconds": "tracking.{}.{}.seconds",
    }
    peers = {name: f"tracking.{{}}.{model}.right.256" for model, name in MODELS.items()}
    return {
        "tracking": cells.table({"Group": TASKS, "Turns": OURS}, own),
        "tracking_peers": cells.table({"Group": TASKS}, peers),
    }
