"""TODO."""

from __future__ import annotations

from pathlib import Path

from resonance.training.checkpoint import written_aside

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "paper"


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and rename it into place."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
