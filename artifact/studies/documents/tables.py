"""Table of the report on `12_documents`: accuracies on the film reviews."""

from __future__ import annotations

from artifact.studies.common.latex import Cells

METHODS = {
    "resonance": "DocumentClassifier",
    "transformer": "Transformer",
    "fnet": "FNet",
    "bag": "Bag of embeddings",
    "tfidf": "TF-IDF, logistic regression",
}


def tables(cells: Cells) -> dict[str, str]:
    columns = {
        "Parameters": "documents.reviews.{}.parameters (4)",
        "Accuracy (\\%)": "documents.reviews.{}.accuracy [3]",
        "Resonance minus it": "documents.reviews.resonance_minus_{} [2]",
        "Training (s)": "documents.reviews.{}.seconds (2)",
    }
    return {"documents": cells.table({"Method": METHODS}, columns)}
