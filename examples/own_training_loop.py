"""Your own training loop, with checkpoints: run it, kill it, run it again, and it goes on where it was."""

from pathlib import Path

import torch

from resonance import ResonanceNet

folder, epochs = Path("own_training_loop"), 4
folder.mkdir(exist_ok=True)
torch.manual_seed(0)
model = ResonanceNet(input_dim=4, num_frequencies=16, hidden_dim=32, num_layers=2, holographic_capacity=0, window=128)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
x = torch.randn(64, 128, 4)
target = x.roll(3, dims=1)  # three steps later

newest, start = folder / "newest.pt", 0
if newest.exists():
    kept = torch.load(newest, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    start = kept["epoch"]
    print(f"goes on after epoch {start}")
for epoch in range(start, epochs):
    for at in torch.randperm(64, generator=torch.Generator().manual_seed(epoch)).split(16):
        loss = (model(x[at]) - target[at]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
    torch.save(state, folder / "newest.part")
    (folder / "newest.part").replace(newest)  # renamed when whole: a kill leaves the one before
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
