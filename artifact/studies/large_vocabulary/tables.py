"""Tables of the report on large vocabularies, from the ledger (see `tables`)."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex, with_interval

ARMS = {
    "full": "full table",
    "hierarchical": "HierarchicalEmbedding",
    "hashing": "hashing, two rows of a small table",
    "low_rank": "low rank",
    "hashing_own": "hashing, frequent words own rows",
}
TASKS = {"words": "Words", "pairs": "Pairs of words"}


def vocabulary_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Test perplexity by embedding and vocabulary; nothing before `07_large_vocabulary` has run."""
    if "vocabulary.words.full.perplexity" not in by_key.index:
        return {}
    rows = []
    for task, vocabulary in TASKS.items():
        for arm, label in ARMS.items():
            key = f"vocabulary.{task}.{arm}"
            if f"{key}.perplexity" in by_key.index:
                row = {"Vocabulary": vocabulary, "Embedding": label}
                row |= {"Parameters": number(by_key.loc[f"{key}.parameters", "value"])}
                row |= {"Test perplexity [95\\% interval]": with_interval(by_key.loc[f"{key}.perplexity"])}
                rows.append(row)
    return {"vocabulary": to_latex(pd.DataFrame(rows), "@{}llrl@{}")}
