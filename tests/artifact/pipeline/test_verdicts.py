"""The tables of verdicts: what stands beside each, and every rule that changed."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.ledger import read_ledger
from artifact.pipeline.verdicts import audit_table, change_table, remark_on, rule_changes, said, verdict_table


def test_what_stands_beside_a_verdict():
    claim = {"id": "T3.cost", "verdict": "works", "bar": "a bar", "peer": "a peer", "condition": "k fixed"}
    claim |= {"corrected": "linear", "printed_reading": None}

    def remark(**changed) -> str:
        return remark_on(pd.Series(claim | changed))

    assert remark() == "our bar: a bar; best peer: a peer"
    assert remark(verdict="holds if") == "k fixed" and remark(verdict="false as printed") == "linear"
    assert remark(verdict="holds if", printed_reading="false as printed") == "k fixed. In general: linear"
    assert remark(verdict="not comparable", corrected=None).strip()
    assert said(pd.Series(claim)) == "works"
    assert said(pd.Series(claim | {"printed_reading": "not measured"})) == "works (word for word: not measured)"


def test_every_claim_and_every_change_of_substance_has_its_row():
    claims, changes = read_ledger("full")[0], rule_changes()
    table = verdict_table(claims)
    short = audit_table(claims)
    assert all(rf"\texttt{{{claim}}}" in text for claim in claims["id"] for text in (table, short))
    first = claims.iloc[[0]].assign(verdict="holds if", condition="k is 5 %", printed_reading="false as printed")
    assert r"\textbf{holds if} / false as printed" in audit_table(first) and r"k is 5 \%" in audit_table(first)
    assert r"\textbf" not in audit_table(first.assign(verdict="not measured", printed_reading=None)).split("midrule")[1]
    changed = change_table(claims)
    assert all(rf"\texttt{{{claim}}}" in changed for claim in changes.loc[changes["change"] == "substance", "claim"])
