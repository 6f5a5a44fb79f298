"""Retrieval across modalities: a gallery ranked by cosine for each query, recall at k, mean average precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations

import pandas as pd
import torch
from torch import Tensor


def _checked(query: Tensor, gallery: Tensor, query_labels: Tensor, gallery_labels: Tensor) -> None:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1] or not len(gallery):
        raise ValueError(
            f"expected queries (q, d) and a gallery (g, d), g >= 1, got {tuple(query.shape)}, {tuple(gallery.shape)}"
        )
    if len(query_labels) != len(query) or len(gallery_labels) != len(gallery):
        raise ValueError("expected one label for each query and each item of the gallery")


@torch.no_grad()
def retrieval_scores(
    query: Tensor,
    gallery: Tensor,
    query_labels: Tensor,
    gallery_labels: Tensor,
    *,
    at: Iterable[int] = (1, 5, 10),
    size: int = 512,
) -> dict[str, float]:
    """Recall at each k, "R@k", and mean average precision, "mAP", over all queries.

    query: (q, d), gallery: (g, d), compared by dot product; an item is relevant when its label is the query's.  R@k is
    the share of queries with a relevant item among the first k; average precision is the mean, over a query's relevant
    items, of the precision at the rank of each.  Queries without a relevant item count as 0; ties rank by index.
    Raises ValueError for shapes that do not fit.  Cost: q g (d + log g), in batches of `size` queries.
    """
    _checked(query, gallery, query_labels, gallery_labels)
    at = tuple(at)
    totals = torch.zeros(len(at) + 1, dtype=torch.float64)
    rank = torch.arange(1, len(gallery) + 1, dtype=torch.float64)
    for some, labels in zip(query.split(size), query_labels.split(size), strict=True):
        order = (some @ gallery.T).argsort(dim=1, descending=True, stable=True)
        relevant = (gallery_labels[order] == labels[:, None]).double()
        precision = relevant.cumsum(1) / rank
        average = (precision * relevant).sum(1) / relevant.sum(1).clamp_min(1)
        totals += torch.stack([*(relevant[:, :k].amax(1).sum() for k in at), average.sum()])
    shares = (totals / len(query)).tolist()
    return dict(zip([*(f"R@{k}" for k in at), "mAP"], shares, strict=True))


def all_directions(embeddings: Mapping[str, Tensor], labels: Tensor) -> pd.DataFrame:
    """`retrieval_scores` of every ordered pair of modalities: columns query, gallery, R@1, R@5, R@10, mAP.

    embeddings[modality]: (n, d), row i of each from pair i, whose label is labels[i].
    """
    rows = [
        {"query": a, "gallery": b, **retrieval_scores(embeddings[a], embeddings[b], labels, labels)}
        for a, b in permutations(embeddings, 2)
    ]
    return pd.DataFrame(rows)


@torch.no_grad()
def nearest(query: Tensor, gallery: Tensor, count: int) -> Tensor:
    """Indices (q, count) of the gallery items most similar to each query, best first."""
    return (query @ gallery.T).argsort(dim=1, descending=True, stable=True)[:, :count]
