"""Command line of the service."""

from __future__ import annotations

import argparse
import os
import re
import sys

import torch

from artifact.serving.app import create_app
from artifact.serving.models import load_models
from artifact.serving.server import serve

VARIABLE = "RESONANCE_TOKEN"


def main(arguments: list[str] | None = None) -> None:
    """Serve the models of a folder; exits with 2 after one clear message where it cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m artifact.serving",
        description="Serve trained models: forecasts, sound and text. See docs/serving.md.",
        epilog=f"Where {VARIABLE} is set in the environment, clients must send it: Authorization: Bearer TOKEN.",
    )
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="a folder with the models (19_deployment saves one)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one, which the log names")
    options = parser.parse_args(arguments)
    token = os.environ.get(VARIABLE)
    if token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{16,}", token):
        parser.error(f"expected at least 16 letters, digits or . _ ~ - in {VARIABLE}")
    try:
        models = load_models(options.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if token is None and options.host not in ("127.0.0.1", "::1", "localhost"):
        print(f"serving: {options.host} may be reached by others, and {VARIABLE} is not set", file=sys.stderr)
    torch.set_num_threads(1)  # steps of a few dozen streams are too small to share
    serve(create_app(models, token=token), options.host, options.port)


if __name__ == "__main__":
    main()
