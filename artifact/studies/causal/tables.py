"""Tables of the report on `15_causal`: the layer against attention and its relatives, a step against a cache."""

from __future__ import annotations

from artifact.studies.causal.benchmark import RESONATORS, STEP_TARGETS, TARGETS
from artifact.studies.causal.relatives import KEYS, OURS, TASKS
from artifact.studies.common.latex import Cells, number


def tables(cells: Cells) -> dict[str, str]:
    speeds = {
        "Ours (ms)": "causal.auto.k{1}.ms.{0}",
        "by FFT": "causal.fft.k{1}.ms.{0}",
        "Attention (ms)": "causal.attention.ms.{0}",
        "Faster": "causal.auto.k{1}.ratio.{0} [2]",
        "As started": "causal.fresh.auto.k{1}.ratio.{0} [2]",
        "Target": lambda n, k: number(TARGETS.get(n), 2),
        "Over bytes": "causal.auto.k{1}.bytes.{0}",
        "Over products": "causal.auto.k{1}.products.{0}",
    }
    steps = {
        "Ours (\\textmu s)": "causal.step.us.{}",
        "Cache (\\textmu s)": "causal.step.attention_us.{}",
        "Faster": "causal.step.ratio.{} [2]",
        "Target": lambda n: number(STEP_TARGETS.get(n), 2),
        "State (MB)": lambda n: number(cells.value("causal.step.state") / 1e3),
        "Cache (MB)": "causal.step.cache.{}",
    }
    lengths = _grouped(cells.lengths(f"causal.auto.k{RESONATORS[0]}.ms."))
    contexts = _grouped(cells.lengths("causal.step.us."))
    return {
        "causal": cells.table({"$n$": lengths, "$k$": {k: str(k) for k in RESONATORS}}, speeds, "@{}rrrrrllrrr@{}"),
        "causal_steps": cells.table({"Context": contexts}, steps, "@{}rrrlrrr@{}"),
        "causal_relatives": _relatives(cells),
        "causal_relatives_ratio": _ratios(cells),
    }


NAMES = {
    key: "Ours" if model == OURS else model.capitalize() if model == "attention" else model
    for model, key in KEYS.items()
}


def _relatives(cells: Cells) -> str:
    """Size, seconds by length, and accuracy on pixels in sequence; a star: the rate is not inside its grid."""
    lengths = _grouped(cells.lengths("causal.relatives.ours.ms."))
    columns = {"Parameters": "causal.relatives.{}.parameters (6)"}
    if lengths:
        columns["State"] = f"causal.relatives.{{}}.state.{min(lengths)} (6)"
    columns |= {f"{text} (ms)": f"causal.relatives.{{}}.ms.{n}" for n, text in lengths.items()}

    def accuracy(task: str):
        def cell(key: str) -> str:
            star = "*" if cells.value(f"causal.relatives.{key}.{task}.inside") == 0 else ""
            return cells.cell(f"causal.relatives.{{}}.{task} [2]", key) + star

        return cell

    columns |= {rf"{task.capitalize()} (\%)": accuracy(task) for task in TASKS}
    return cells.table({"Layer": NAMES}, columns, f"@{{}}lrr{'r' * len(lengths)}ll@{{}}")


def _ratios(cells: Cells) -> str:
    """Seconds over those of ours, with intervals over repetitions."""
    lengths = _grouped(cells.lengths("causal.relatives.s4d.ratio."))
    others = {key: name for key, name in NAMES.items() if key != KEYS[OURS]}
    return cells.table({"Layer": others}, {text: f"causal.relatives.{{}}.ratio.{n} [2]" for n, text in lengths.items()})


def _grouped(lengths: list[int]) -> dict[int, str]:
    """Numbers with a thin space before each three digits."""
    return {n: f"{n:,}".replace(",", r"\,") for n in lengths}
