"""Training: trainer, the natural step, gradient health, checkpoints, and what a resumed run needs."""
