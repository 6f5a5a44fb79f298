"""The error of the linear-time engine stays below its bound."""

from __future__ import annotations

import torch

from artifact.studies.complexity.engine_errors import function_errors, transform_errors


def test_functions_miss_no_more_than_the_bound():
    errors = function_errors([0.5, 2, 8, 20])
    assert len(errors) > 25 and (errors["error"] <= errors["bound"] + 2e-15).all()


def test_transforms_stay_within_tolerance():
    errors = transform_errors([300, 4096], 16, [torch.float64, torch.float32, torch.bfloat16])
    assert (errors["error"] <= errors["tolerance"]).all()
