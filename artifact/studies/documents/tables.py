"""Table of the report on `12_documents`: accuracies on the film reviews."""

from __future__ import annotations

import pandas as pd

from artifact.studies.common.latex import Cells, to_latex

METHODS = {
    "resonance": "DocumentClassifier",
    "transformer": "Transformer",
    "fnet": "FNet",
    "bag": "Bag of embeddings",
    "tfidf": "TF-IDF, logistic regression",
}


def tables(measures: pd.DataFrame) -> dict[str, str]:
    cells = Cells(measures)
    rows = [
        {
            "Method": label,
            "Parameters": cells.number(f"documents.reviews.{key}.parameters", 4),
            "Accuracy (\\%)": cells.interval(f"documents.reviews.{key}.accuracy", 3),
            "Resonance minus it": cells.interval(f"documents.reviews.resonance_minus_{key}", 2),
            "Training (s)": cells.number(f"documents.reviews.{key}.seconds", 2),
        }
        for key, label in METHODS.items()
    ]
    return {"documents": to_latex(rows, "@{}lrllr@{}")}
