"""Table of the report on `07_large_vocabulary`: test perplexity by embedding and vocabulary."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

EMBEDDINGS = {
    "full": "full table",
    "hierarchical": "HierarchicalEmbedding",
    "hashing": "hashing, two rows of a small table",
    "low_rank": "low rank",
    "hashing_own": "hashing, own rows for frequent words",
}
VOCABULARIES = {"words": "Words", "pairs": "Pairs of words"}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    rows = [
        {
            "Vocabulary": vocabulary,
            "Embedding": label,
            "Parameters": cells.number(f"vocabulary.{task}.{key}.parameters"),
            "Test perplexity [95\\% interval]": cells.interval(f"vocabulary.{task}.{key}.perplexity"),
        }
        for task, vocabulary in VOCABULARIES.items()
        for key, label in EMBEDDINGS.items()
    ]
    return {"vocabulary": to_latex(rows, "@{}llrl@{}", labels=2)}
