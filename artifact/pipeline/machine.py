"""What a result was made on: the processor, and the commit of the checkout."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

from artifact.files import ROOT


def device_name(threads: int) -> str:
    """What ran: the CPU's name and the number of threads used.  No notebook uses a GPU yet."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def commit() -> str:
    """The short commit of the checkout, with "+" where tracked code differs from it; "unknown" without git."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        code = ["resonance", "artifact", "notebooks", "Snakefile", "requirements.lock"]
        code += ["paper/claims.csv", "paper/published.csv"]
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *code], check=False)
        return head.stdout.strip() + ("+" if changed.returncode else "")
    except (OSError, subprocess.CalledProcessError):
        return _head_of(ROOT / ".git") or "unknown"


def _head_of(git: Path) -> str:
    """The short commit that a .git folder's HEAD names, read from its files; "" if there is none."""
    if not (git / "HEAD").exists():
        return ""
    head = (git / "HEAD").read_text().strip().removeprefix("ref: ")
    if (git / head).exists():
        head = (git / head).read_text().strip()
    elif (git / "packed-refs").exists():
        packed = [line.split() for line in (git / "packed-refs").read_text().splitlines()]
        head = next((words[0] for words in packed if words[1:] == [head]), head)
    return head[:10] if re.fullmatch(r"[0-9a-f]{40,64}", head) else ""
