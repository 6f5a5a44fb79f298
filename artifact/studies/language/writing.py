"""Generation by trained models: samples, and the cost of a character after a context of n."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from artifact.datasets.characters import Corpus
from artifact.peers.causal import state_after, state_bytes
from artifact.peers.language import RotaryGPT
from artifact.studies.common.timing import alternated
from artifact.studies.language.study import DIM, HEADS, LAYERS, RESONANCE, RESONATORS, TRANSFORMER
from resonance.language import LanguageModel, ResonanceLM


def sample_text(
    model: LanguageModel, corpus: Corpus, length: int, *, prompt: int = 64, temperature: float = 0.8, seed: int = 0
) -> tuple[str, str]:
    """(prompt, continuation): the first symbols of the report part, continued by one draw, unselected."""
    ids = corpus.parts["report"][None, :prompt]
    written = model.eval().generate(ids, length, temperature, generator=torch.Generator().manual_seed(seed))
    return corpus.decode(ids[0]), corpus.decode(written[0, prompt:])


@torch.inference_mode()
def generation_costs(
    contexts: Sequence[int], vocab_size: int, *, rounds: int = 3, min_seconds: float = 0.1
) -> pd.DataFrame:
    """Seconds of generating one id after a context, in alternated steps, and bytes of the state, by family and context.

    Both models have the sizes of the study; the cache has room for the context and one id more.
    """
    rows, ids = [], torch.zeros(1, dtype=torch.long)
    for context in contexts:
        models = {
            RESONANCE: ResonanceLM(vocab_size, DIM, LAYERS, RESONATORS).eval(),
            TRANSFORMER: RotaryGPT(vocab_size, DIM, LAYERS, HEADS, context + 1).eval(),
        }
        states = {name: state_after(model, context) for name, model in models.items()}
        steps = {name: partial(model.step, ids, states[name]) for name, model in models.items()}
        seconds = alternated(steps, rounds=rounds, min_seconds=min_seconds)
        rows += [(name, context, seconds[name], state_bytes(state)) for name, state in states.items()]
    return pd.DataFrame(rows, columns=["family", "context", "seconds", "bytes"])
