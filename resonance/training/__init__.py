"""Training: the trainer, the natural polar step, gradient health, checkpoints and what a resumed run restores."""

from .trainer import PolarTrainer

__all__ = ["PolarTrainer"]
