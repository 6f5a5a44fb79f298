"""Training: the trainer, the natural polar step, gradient health, checkpoints and what a resumed run restores."""
