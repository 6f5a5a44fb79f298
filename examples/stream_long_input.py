"""Map a sequence of any length chunk by chunk: the same outputs as in one call, a state of constant size."""

import torch

from resonance import CausalResonance

torch.manual_seed(0)
layer = CausalResonance(dim=32, num_resonators=16)
x = torch.randn(1, 20000, 32)
with torch.no_grad():
    whole = layer(x)  # in parallel, linear in n
    state, parts = layer.initial_state(1), []
    for chunk in x.split(1024, dim=1):
        y, state = layer.extend(chunk, state)
        parts.append(y)
    y, state = layer.step(x[:, 0], state)  # one more token, as in generation
print(f"chunks against one call, largest difference: {(torch.cat(parts, dim=1) - whole).abs().max():.1e}")
