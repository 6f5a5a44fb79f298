"""Tables of the report: empty without measures, and a row of hosts that says where they could not be made."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells
from artifact.studies.scaling_out.tables import tables


def made(**measures: float) -> dict[str, str]:
    rows = [(key, value, float("nan"), float("nan")) for key, value in measures.items()]
    return tables(Cells(pd.DataFrame(rows, columns=["key", "value", "ci_low", "ci_high"]).set_index("key")))


def test_no_table_without_measures():
    assert set(made().values()) == {""}


def test_hosts_that_were_refused_have_a_row():
    processes = {"scaling.equal.machine.4.net": 1e-7}
    table = made(**processes)["scaling_equality"]
    assert "4 hosts & not measured on this machine" in table and "4 processes & \\num" in table
    assert (
        "not measured"
        not in made(**processes, **{"scaling.equal.hosts.4.net": 2e-7})["scaling_equality"].split("4 hosts")[1]
    )
