"""Load a model that is trained already and let it write: by default the one of the reference run, on Shakespeare."""

import sys
from pathlib import Path

import torch

from resonance import ResonanceLM, from_pretrained
from resonance.pretrained import configuration

reference = Path(__file__).parents[1] / "data" / "results" / "full" / "13_language" / "characters.safetensors"
path = Path(sys.argv[1]) if len(sys.argv) > 1 else reference
said = configuration(path)
about, letters = said["about"], said["about"]["letters"]
print(f"{said['model']} of {about['data']}, {about['loss']:.2f} nats a character on text that it was not trained on")

model = from_pretrained(path, ResonanceLM)
prompt = torch.tensor([[letters.index(letter) for letter in "The king"]])
written = model.generate(prompt, max_new_tokens=300, temperature=0.7, generator=torch.Generator().manual_seed(0))
print("".join(letters[i] for i in written[0]))
