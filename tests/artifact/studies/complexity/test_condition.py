"""Which k keeps a layer at O(n log n): operations counted on the executed graph."""

from __future__ import annotations

import math

import pytest
import torch

from artifact.studies.common.growth import count_operations, fit_laws
from artifact.studies.complexity.figures import MODEL_STYLE
from artifact.studies.complexity.tables import LAYERS
from resonance.layers import ResonanceLayer

LENGTHS = [2**e for e in range(6, 14)]


@pytest.mark.parametrize(
    ("frequencies", "law"),
    [
        (lambda n: 8, "n log n"),
        (lambda n: round(math.sqrt(n * math.log2(n))), "n log n"),  # the sharp condition
        (lambda n: round(n / math.log2(n)), "n^1.5"),  # small beside n, and not enough
        (lambda n: n // 4, "n^2"),  # the control
    ],
)
def test_operations_are_n_log_n_up_to_the_sharp_condition_and_not_beyond(frequencies, law):
    layers = {n: ResonanceLayer(2, frequencies(n), engine="fft") for n in LENGTHS}
    laws = fit_laws(LENGTHS, [count_operations(layer, torch.randn(1, n, 2)) for n, layer in layers.items()])
    assert laws.loc[laws["aicc"].idxmin(), "law"] == law


def test_every_model_of_the_figure_has_a_row_in_the_table():
    assert len(MODEL_STYLE) == len(LAYERS)
