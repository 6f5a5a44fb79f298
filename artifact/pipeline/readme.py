"""The generated parts of README.md and docs/results.md, from the reference run; the paper's table of comparisons."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd

from artifact.files import PAPER, ROOT
from artifact.pipeline.ledger import printed_claims, read_ledger, read_provenance
from artifact.pipeline.notebooks import RunError, notebooks, settings
from artifact.pipeline.progress import duration
from artifact.pipeline.provenance import texts
from artifact.pipeline.tables import CORES, state, wall
from artifact.pipeline.verdicts import remark_on, said
from artifact.studies.common.latex import escape, to_latex

BOUNDS = {0: "", 1: "at least ", -1: "at most ", 2: "not decided: "}  # by what the ledger has as <key>.side
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")


def parts(tests: str | None = None, quick: dict[str, float] | None = None) -> dict[str, str]:
    """The generated parts by name: the cost of the commands, the state of the results, the claims, the results.

    tests, quick: the text to come of paper/test_cost.csv, and the seconds of the notebooks, where they are renewed.
    """
    claims, measures = read_ledger("full")
    return {
        "cost": cost(tests, quick),
        "state": f"Reference results: {state(read_provenance('full'))}",
        "verdicts": verdicts(claims),
        "against": against(measures.set_index("key")),
        "results": results(measures.set_index("key")),
    }


def verdicts(claims: pd.DataFrame) -> str:
    """One row a claim: in short, and its verdict, with bar and best peer, or the verdict of the printed reading."""
    short = printed_claims()["short"]
    rows = ["| id | claim | verdict |", "|---|---|---|"]
    for _, claim in claims.iterrows():
        beside = f" ({remark_on(claim)})" if claim["verdict"] == "works" else ""
        rows.append(f"| `{claim['id']}` | {short[claim['id']]} | {said(claim)}{beside} |")
    return "\n".join(rows)


def cost(tests: str | None = None, quick: dict[str, float] | None = None) -> str:
    """What the commands took when they were last recorded: the notebooks' seconds, and those of the tests."""
    first, reference = (duration(wall(taken)) for taken in (quick or seconds("quick"), seconds("full")))
    path, tested = PAPER / "test_cost.csv", "not recorded"
    if tests or path.exists():
        row = pd.read_csv(io.StringIO(tests or path.read_text())).iloc[0]
        tested = duration(row["seconds"]) + ("" if row["cores"] == CORES else f" (on {row['cores']})")
    return (
        f"Recorded on {CORES} cores: the notebooks of the first {first}; the second {tested}; the notebooks of the "
        f"reference run, `./run_all.sh full`, {reference}."
    )


def seconds(profile: str) -> dict[str, float]:
    """The committed seconds of every notebook in a profile: those of its outputs, or of its reference result."""
    if profile == "quick":
        return {name: settings(name)["seconds"] or 0.0 for name in notebooks()}
    return {record["notebook"]: record["seconds"] for record in read_provenance(profile)}


def listed_results() -> pd.DataFrame:
    """The results to be printed, of paper/results.csv: label, key of the ledger, digits, notebook, target, par, ahead.

    target: set before the run, at least so much.  par: of a comparison, the value at which neither side is ahead; ours
    is ahead on the side that the column `ahead` names, "above" or "below" it.
    """
    return pd.read_csv(PAPER / "results.csv", dtype={"notebook": str, "ahead": str})


def against(measures: pd.DataFrame) -> str:
    """One line for each comparison of paper/results.csv, wins and losses alike: value, interval, and who is ahead."""
    rows = ["| comparison | value [95% interval] | ours is |", "|---|---|---|"]
    for _, row in listed_results().dropna(subset=["par"]).iterrows():
        cells = ("not measured", "")
        if row["key"] in measures.index:
            measure = measures.loc[row["key"]]
            cells = (plain(measure, row["digits"]), standing(measure, row["par"], row["ahead"]))
        rows.append(f"| {row['label']} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


def against_table(measures: pd.DataFrame) -> str:
    """The comparisons of `against` as a table of the paper, from the measures of any run, indexed by key."""
    rows = []
    for _, row in listed_results().dropna(subset=["par"]).iterrows():
        value, side = r"\notmeasured", ""
        if row["key"] in measures.index:
            measure, rounded = measures.loc[row["key"]], rf"\num[round-mode=places,round-precision={row['digits']:.0f}]"
            value, low, high = (f"{rounded}{{{x:.12g}}}" for x in measure[["value", "ci_low", "ci_high"]])
            value += "" if pd.isna(measure["ci_low"]) else f" [{low}, {high}]"
            side = standing(measure, row["par"], row["ahead"])
        label = re.sub(r"`(.*?)`", r"\\texttt{\1}", escape(row["label"])).replace("freed memory kept", "kept")
        rows.append({"Comparison": label, "Value": value, "Ours is": side})
    return to_latex(rows, r"@{}>{\RaggedRight}p{9.3cm}ll@{}")


def standing(measure: pd.Series, par: float, ahead: str) -> str:
    """Where ours stands in a comparison: "ahead" or "behind" if the whole interval is on that side of par."""
    low, high = measure["ci_low"], measure["ci_high"]
    if pd.isna(low):
        return "no interval"
    if low <= par <= high:
        return "no difference seen"
    return "ahead" if (low > par) == (ahead == "above") else "behind"


def results(measures: pd.DataFrame) -> str:
    """One line for each row of paper/results.csv, by notebook: the value, its interval and its target."""
    listed = listed_results()
    lines = []
    for notebook, rows in listed.groupby("notebook", sort=True):
        name = next(name for name in notebooks() if name.startswith(notebook))
        lines += ["", f"### `{name}`", "", "| result | value [95% interval] |", "|---|---|"]
        for _, row in rows.iterrows():
            cell = "not measured"
            if row["key"] in measures.index:
                side = measures["value"].get(f"{row['key']}.side", 0)
                cell = BOUNDS[int(side)] + plain(measures.loc[row["key"]], row["digits"])
                cell += _target(row, measures.loc[row["key"], "value"])
            lines.append(f"| {row['label']} | {cell} |")
    return "\n".join(lines[1:])


def _target(row: pd.Series, value: float) -> str:
    """The target set before the run, at least so much, and whether it was reached; "" where none was set."""
    if pd.isna(row["target"]):
        return ""
    return f" (target {row['target']:g}, {'reached' if value >= row['target'] else 'missed'})"


def plain(row: pd.Series, digits: float) -> str:
    """A measure in plain text with so many digits after the point, in scientific notation without."""

    def show(x: float) -> str:
        return f"{x:.1e}" if pd.isna(digits) else f"{x:,.{int(digits)}f}"

    interval = "" if pd.isna(row["ci_low"]) else f" [{show(row['ci_low'])}, {show(row['ci_high'])}]"
    return show(row["value"]) + interval


def renew(tests: str | None = None, quick: dict[str, float] | None = None) -> dict[Path, str]:
    """The text of each page with its generated parts renewed, and of provenance.py's files; arguments as in `parts`."""
    made = parts(tests, quick)
    return {path: renewed(path.read_text(encoding="utf-8"), made) for path in PAGES} | texts()


def renewed(text: str, made: dict[str, str]) -> str:
    """Text with what stands between each pair of markers, <!-- name --> and <!-- /name -->, replaced.

    Raises RunError for a marker without its partner, and for a name that nothing generates.
    """
    for name in re.findall(r"^<!-- /?(\w+) -->$", text, flags=re.M):
        if name not in made or text.count(f"<!-- {name} -->\n") != 1 or text.count(f"<!-- /{name} -->") != 1:
            raise RunError(f"expected one pair of markers for {name!r}, which is one of {', '.join(made)}")
    pattern = r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)"
    return re.sub(pattern, lambda match: match[1] + made[match[2]] + "\n" + match[3], text, flags=re.S)
