"""Precisions: the answer is torch's own, and follows the CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from artifact.studies.common.precision import has_fast_products


def test_full_precision_is_always_fast():
    assert has_fast_products(torch.float32) and has_fast_products(torch.float64)
    assert isinstance(has_fast_products(torch.bfloat16), bool) and isinstance(has_fast_products(torch.float16), bool)


def test_a_cpu_with_avx2_alone_has_no_fast_half_precision():
    code = (
        "import torch; from artifact.studies.common.precision import has_fast_products as fast;"
        "print(fast(torch.float32), fast(torch.bfloat16), fast(torch.float16))"
    )
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    out = subprocess.run([sys.executable, "-c", code], env=limited, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "False", "False"]
