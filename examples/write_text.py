"""Train a character model on this folder's own text, then let it write, one token at a time, in constant memory."""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from resonance import ResonanceLM, ResonanceTrainer

torch.manual_seed(0)
text = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*.py")))
letters = sorted(set(text))
ids = torch.tensor([letters.index(letter) for letter in text])
model = ResonanceLM(len(letters), hidden_dim=48, num_layers=2, num_resonators=16, recall_heads=0)
trainer = ResonanceTrainer(
    model,
    learning_rate_magnitude=3e-3,
    learning_rate_phase=3e-3,
    loss_fn=lambda logits, target: cross_entropy(logits.flatten(0, 1), target.flatten()),
)
for step in range(150):
    start = torch.randint(len(ids) - 129, (16, 1)) + torch.arange(129)
    loss, _ = trainer.train_step((ids[start][:, :-1], ids[start][:, 1:]))
    if step % 50 == 0:
        print(f"step {step}: {loss:.2f} nats a character")
print(f"at the end: {loss:.2f} nats a character")
prompt = torch.tensor([[letters.index(letter) for letter in "import "]])
written = model.generate(prompt, max_new_tokens=80, temperature=0.7, generator=torch.Generator().manual_seed(0))
print("".join(letters[i] for i in written[0]))
