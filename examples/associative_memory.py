"""Keep patterns in one hologram and read them back: by key exactly, by a noisy cue up to its capacity."""

import torch

from resonance import HolographicMemory

torch.manual_seed(0)
memory = HolographicMemory(256, capacity=64)
patterns = torch.randn(64, 256)
keys = [memory.encode(pattern) for pattern in patterns]
error = torch.stack([memory.reconstruct(key) for key in keys]).sub(patterns).norm() / patterns.norm()
print(f"{len(memory)} patterns in one hologram, read by key: relative error {error:.1e}")

cue = patterns[7] + 0.5 * torch.randn(256)  # a noisy version of the eighth
key, pattern = memory.recall(cue)
error = (pattern - patterns[7]).norm() / pattern.norm()
print(f"the nearest to a noisy cue: pattern {keys.index(key)}, relative error {error:.1e}")
memory.forget(keys[7])
print(f"after forgetting it: {keys[7] in memory}, {len(memory)} left")
