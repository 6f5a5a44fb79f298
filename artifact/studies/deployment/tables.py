"""Tables of the report on `19_deployment`: targets, and latency by endpoint and clients."""

from __future__ import annotations

from artifact.studies.common.latex import MISSING, Cells

ENDPOINTS = {
    "frame": "Sound, a frame",
    "forecast": "Forecast, trained before",
    "fit": "Forecast, fitted to the series",
    "first_token": "Text, first token",
    "token": "Text, a further token",
}
TARGETS = {  # quantity, unit, target
    "faults": ("Requests of 64 clients that failed", "", "0"),
    "real_time": ("A frame of sound at p99, 64 streams", "ms", "below 20"),
    "refused": ("Bad inputs not refused, or not survived", "", "0"),
    "isolated": ("Largest difference from the model alone", "", "at most $10^{-4}$"),
    "stopped": ("Tokens lost by a stop", "", "0"),
}


def tables(cells: Cells) -> dict[str, str]:
    def measured(key: str) -> str:
        value = cells.cell(f"deployment.target.{key}")
        return value if value == MISSING else f"{value} {TARGETS[key][1]}".strip()

    def reached(key: str) -> str:
        return {0: "no", 1: "yes"}.get(cells.value(f"deployment.target.{key}.reached"), MISSING)

    targets = {key: f"{quantity} & {limit}" for key, (quantity, _, limit) in TARGETS.items()}
    columns = {
        f"{name}, {clients}": f"deployment.{{}}.{clients}.{name}"
        for clients in (1, 64)
        for name in ("p50", "p95", "p99")
    }
    return {
        "deployment_targets": cells.table(
            {"Quantity & Target": targets}, {"Measured": measured, "Reached": reached}, "@{}llll@{}"
        ),
        "deployment": cells.table({"Endpoint": ENDPOINTS}, columns),
    }
