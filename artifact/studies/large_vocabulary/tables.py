"""Table of the report on `07_large_vocabulary`: test perplexity by embedding and vocabulary."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

EMBEDDINGS = {
    "full": "full table",
    "hierarchical": "HierarchicalEmbedding",
    "hashing": "hashing, two rows of a small table",
    "low_rank": "low rank",
    "hashing_own": "hashing, own rows for frequent words",
}
VOCABULARIES = {"words": "Words", "pairs": "Pairs of words"}


def tables(cells: Cells) -> dict[str, str]:
    columns = {
        "Parameters": "vocabulary.{}.{}.parameters",
        "Test perplexity [95\\% interval]": "vocabulary.{}.{}.perplexity [4]",
    }
    return {"vocabulary": cells.table({"Vocabulary": VOCABULARIES, "Embedding": EMBEDDINGS}, columns)}
