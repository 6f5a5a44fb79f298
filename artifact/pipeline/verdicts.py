"""The tables of verdicts: every claim on one page and in full, and every rule that changed after a result was seen.

`paper/rule_changes.csv` has a row for each change: the claim, the old rule and the verdict under it, the commit of the
results that had been seen, whether the change is one of `substance` or of `wording` alone, and why.
"""

from __future__ import annotations

import pandas as pd

from artifact.files import PAPER
from artifact.pipeline.ledger import printed_claims
from artifact.studies.common.latex import escape, to_latex


def rule_changes() -> pd.DataFrame:
    """The rules that changed after a result was seen, oldest change first."""
    return pd.read_csv(PAPER / "rule_changes.csv", dtype=str, keep_default_na=False)


def said(verdict: pd.Series) -> str:
    """A verdict in words, with that of the printed reading behind it where the two differ: "holds if (...)"."""
    return verdict["verdict"] + word_for_word(verdict)


def word_for_word(verdict: pd.Series) -> str:
    """The verdict of the printed reading in brackets, a space before them; "" where it is not another."""
    return "" if pd.isna(verdict["printed_reading"]) else f" (word for word: {verdict['printed_reading']})"


def remark_on(verdict: pd.Series) -> str:
    """What goes with a verdict: the condition, our bar and the best peer, what is true, or how it is read."""
    if verdict["verdict"] == "works":
        return f"our bar: {verdict['bar']}; best peer: {verdict['peer']}"
    corrected = "" if pd.isna(verdict["corrected"]) else str(verdict["corrected"])
    if verdict["verdict"] == "holds if":
        beside = corrected if verdict["printed_reading"] == "false as printed" else ""
        return verdict["condition"] + (f". In general: {beside}" if beside else "")
    if verdict["verdict"] == "not comparable" and not corrected:
        return printed_claims().loc[verdict["id"], "reading"]
    return corrected


def audit_table(claims: pd.DataFrame) -> str:
    """Every claim in a line or two: what is claimed, the verdict, and its condition, our bar, or what is true."""
    printed, rows = printed_claims(), []
    for _, claim in claims.iterrows():
        judged = claim["verdict"] != "not measured"
        beside = {"holds if": claim["condition"], "works": f"our bar: {claim['bar']}"}
        other = "" if pd.isna(claim["printed_reading"]) else rf" / {escape(claim['printed_reading'])}"
        rows.append(
            {
                "Claim": rf"\texttt{{{escape(claim['id'])}}}",
                "What is claimed": escape(printed.loc[claim["id"], "short"]),
                "Verdict": rf"\textbf{{{escape(claim['verdict'])}}}{other}" if judged else escape(claim["verdict"]),
                "Condition, bar, or what is true": escape(beside.get(claim["verdict"]) or remark_on(claim)),
            }
        )
    widths = r"@{}l>{\RaggedRight}p{4.1cm}>{\RaggedRight}p{2.6cm}>{\RaggedRight}p{8.6cm}@{}"
    return to_latex(rows, widths)


def verdict_table(claims: pd.DataFrame) -> str:
    """Every claim, its verdict and that under an earlier rule, and what goes with it."""
    changes = rule_changes().query("change == 'substance'").groupby("claim")["old_verdict"].last()
    rows = []
    for _, claim in claims.iterrows():
        verdict = claim["verdict"] if claim["verdict"] == "not measured" else rf"\textbf{{{escape(said(claim))}}}"
        old = changes.get(claim["id"], "")
        earlier = "; the same by an earlier rule" if old == claim["verdict"] else f"; by an earlier rule: {old}"
        rows.append(
            {
                "Claim": rf"\texttt{{{escape(claim['id'])}}}",
                "As printed": escape(claim["printed"]),
                "Verdict": verdict + (earlier if old else ""),
                "Condition, or what is true": escape(remark_on(claim)),
            }
        )
    widths = r"@{}l>{\RaggedRight}p{5.2cm}>{\RaggedRight}p{2.5cm}>{\RaggedRight}p{4.8cm}@{}"
    return longtable(rows, widths, "Every printed claim, with its printed figures in brackets.")


def change_table(claims: pd.DataFrame) -> str:
    """Every rule whose substance changed after a result was seen: the old rule, both verdicts, and why.

    Claims with the same old rule, reason and commit share a row.
    """
    judged, changes = claims.set_index("id"), rule_changes()
    rows = []
    for (rule, commit, why), same in changes[changes["change"] == "substance"].groupby(
        ["old_rule", "commit", "why"], sort=False
    ):
        verdicts = [
            f"{change.old_verdict}, now {judged.loc[change.claim, 'verdict']}"
            if judged.loc[change.claim, "rule"] != rule
            else f"{change.old_verdict}, not yet judged anew"
            for change in same.itertuples()
        ]
        if len(set(verdicts)) > 1:
            verdicts = [f"{claim}: {verdict}" for claim, verdict in zip(same["claim"], verdicts, strict=True)]
        rows.append(
            {
                "Claim": ", ".join(rf"\texttt{{{escape(claim)}}}" for claim in same["claim"]),
                "Old rule": escape(rule),
                "Verdicts": escape("; ".join(dict.fromkeys(verdicts))),
                "Results seen": rf"\texttt{{{escape(commit)}}}",
                "Why it changed": escape(why),
            }
        )
    widths = r"@{}>{\RaggedRight}p{1.9cm}>{\RaggedRight}p{5.3cm}>{\RaggedRight}p{2.7cm}l>{\RaggedRight}p{3.1cm}@{}"
    reworded = (changes["change"] == "wording").sum()
    caption = f"Rules that changed after a result had been seen; {reworded} more changed in wording alone."
    return longtable(rows, widths, caption) or "No rule has changed.\n"


def longtable(rows: list[dict[str, str]], columns: str, caption: str) -> str:
    """A table of more than a page, its head on each; "" without rows."""
    body = to_latex(rows, columns)
    for old, new in {
        r"\midrule": r"\midrule\endhead",
        r"\toprule": rf"\caption{{{caption}}}\\\toprule",
        r"\begin{tabular}": r"\begin{longtable}",
        r"\end{tabular}": r"\end{longtable}",
    }.items():
        body = body.replace(old, new, 1)
    return body
