"""Which precisions a device multiplies in hardware: what is slower than float32 is not measured there."""

from __future__ import annotations

import torch


def has_fast_products(dtype: torch.dtype, device: torch.device | str = "cpu") -> bool:
    """Whether a device multiplies matrices of a dtype in hardware, as torch itself finds.

    A CPU without AVX-512 or AMX has no product of bfloat16: torch computes it 20 to 30 times slower than float32.
    """
    kind = torch.device(device).type
    if kind == "cpu" and dtype in (torch.bfloat16, torch.float16):
        name = "bf16" if dtype == torch.bfloat16 else "fp16"
        return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: False)())
    if kind == "cuda" and dtype == torch.bfloat16:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return True
