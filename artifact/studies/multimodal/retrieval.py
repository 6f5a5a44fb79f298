"""Retrieval across modalities: a gallery ranked by cosine for each query, recall at k, mean average precision."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pandas as pd
import torch
from torch import Tensor


@torch.no_grad()
def retrieval_scores(query: Tensor, gallery: Tensor, query_labels: Tensor, gallery_labels: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10, "R@k", and mean average precision, "mAP", over all queries.

    query: (q, d), gallery: (g, d), compared by dot product; an item is relevant when its label is the query's.  R@k is
    the share of queries with a relevant item among the first k; average precision is the mean, over a query's relevant
    items, of the precision at the rank of each.  Queries without a relevant item count as 0; ties rank by index.
    """
    if len(query_labels) != len(query) or len(gallery_labels) != len(gallery) or not len(gallery):
        raise ValueError("expected one label for each query and each item of the gallery, at least one of these")
    relevant = (gallery_labels[nearest(query, gallery, len(gallery))] == query_labels[:, None]).double()  # (q, g)
    precision = relevant.cumsum(1) / torch.arange(1, len(gallery) + 1)
    average = (precision * relevant).sum(1) / relevant.sum(1).clamp_min(1)
    recalls = {f"R@{k}": relevant[:, :k].amax(1).mean().item() for k in (1, 5, 10)}
    return {**recalls, "mAP": average.mean().item()}


def all_directions(embeddings: Mapping[str, Tensor], labels: Tensor) -> pd.DataFrame:
    """`retrieval_scores` of every ordered pair of modalities: columns query, gallery, R@1, R@5, R@10, mAP.

    embeddings[modality]: (n, d), row i of each from pair i, whose label is labels[i].
    """
    return pd.DataFrame(
        {"query": a, "gallery": b, **retrieval_scores(embeddings[a], embeddings[b], labels, labels)}
        for a, b in permutations(embeddings, 2)
    )


@torch.no_grad()
def nearest(query: Tensor, gallery: Tensor, count: int) -> Tensor:
    """Indices (q, count) of the gallery items most similar to each query, best first."""
    return (query @ gallery.T).argsort(dim=1, descending=True, stable=True)[:, :count]
