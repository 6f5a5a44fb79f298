"""Recordings of unequal length as one padded array: cut, chosen, and drawn in batches of like lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Recordings:
    """Waves (count, samples), padded with zeros; lengths in samples and labels, (count,), int64."""

    waves: Tensor
    lengths: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, which: np.ndarray | Tensor) -> Recordings:
        """The recordings of a mask or an index."""
        which = torch.as_tensor(which)
        return Recordings(self.waves[which], self.lengths[which], self.labels[which])

    def batches(
        self, size: int, generator: torch.Generator, augmentation: Augmentation | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (waves, lengths, labels) without end, every recording once an epoch, like lengths together.

        Lengths are multiplied by noise of a fifth before they are sorted, so that batches differ between epochs; a
        batch is padded to its own longest.  Raises ValueError when there is nothing to draw from.
        """
        if len(self) < 1 or size < 1:
            raise ValueError(f"expected at least one recording and size >= 1, got {len(self)} and {size}")
        cuts = max(1, len(self) // size)
        while True:
            blurred = self.lengths.log() + 0.2 * torch.randn(len(self), generator=generator)
            parts = torch.tensor_split(blurred.argsort(), cuts)
            for at in torch.randperm(len(parts), generator=generator).tolist():
                index = parts[at]
                lengths = self.lengths[index]
                waves = self.waves[index, : int(lengths.max())]
                if augmentation is not None:
                    waves, lengths = augmentation(waves, lengths, generator)
                yield waves, lengths, self.labels[index]

    @torch.inference_mode()
    def logits(self, model: torch.nn.Module, size: int = 256) -> Tensor:
        """Logits of a model in evaluation mode, in the recordings' order; batches are of like lengths."""
        model.eval()
        order = self.lengths.argsort()
        parts = [model(self.waves[i, : int(self.lengths[i].max())], self.lengths[i]) for i in order.split(size)]
        return torch.cat(parts)[order.argsort()]


def recordings(waves: Sequence[np.ndarray], labels: np.ndarray, longest: int) -> Recordings:
    """Recordings as one padded array, each cut to the `longest` samples in a row with the most energy."""
    cut = [loudest(wave, longest) for wave in waves]
    lengths = torch.tensor([len(wave) for wave in cut])
    if not len(cut) or int(lengths.min()) < 1:
        raise ValueError("expected at least one recording, and none that is empty")
    padded = pad_sequence([torch.from_numpy(wave) for wave in cut], batch_first=True)
    return Recordings(padded, lengths, torch.as_tensor(labels))


def loudest(wave: np.ndarray, longest: int) -> np.ndarray:
    """The at most `longest` samples in a row with the most energy; the first of equals."""
    if len(wave) <= longest:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    start = int(np.argmax(energy[longest:] - energy[:-longest]))
    return wave[start : start + longest]
