"""Tables of the section on documents."""

from __future__ import annotations

import pandas as pd

from artifact.pipeline.tables import number, to_latex, with_interval

REVIEWERS = {
    "resonance": "DocumentClassifier",
    "transformer": "Transformer",
    "fnet": "FNet",
    "bag": "Bag of embeddings",
    "tfidf": "TF-IDF, logistic regression",
}


def documents_tables(by_key: pd.DataFrame) -> dict[str, str]:
    """Return the table of accuracies on the film reviews, if they were measured."""
    if "documents.reviews.resonance.accuracy" not in by_key.index:
        return {}
    rows = []
    for key, label in REVIEWERS.items():
        minus = f"documents.reviews.resonance_minus_{key}"
        rows.append(
            {"Method": label, "Parameters": number(by_key.loc[f"documents.reviews.{key}.parameters", "value"], 4)}
            | {"Accuracy (\\%)": with_interval(by_key.loc[f"documents.reviews.{key}.accuracy"], 3)}
            | {"Resonance minus it": with_interval(by_key.loc[minus], 2) if minus in by_key.index else "--"}
            | {"Training (s)": number(by_key.loc[f"documents.reviews.{key}.seconds", "value"], 2)}
        )
    return {"documents": to_latex(pd.DataFrame(rows), "@{}lrllr@{}")}
