"""Small models with random weights, and a service of them in a thread."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import torch
import uvicorn

from artifact.serving.app import create_app
from artifact.serving.guard import Limits
from artifact.serving.models import KINDS, load_models, save_model
from artifact.serving.server import configured

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the service is here, whatever leads elsewhere

SETTINGS = {
    "classifier": {"labels": ["no", "yes", "other"], "rate": 8000, "dim": 16, "num_layers": 2, "num_resonators": 4},
    "text": {"symbols": "\nabcdefgh ", "hidden_dim": 16, "num_layers": 2, "num_resonators": 4},
    "forecaster": {"lookback": 48, "horizon": 6, "coverage": 0.9, "level_steps": 24, "rank": 4},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, settings in SETTINGS.items():
        model = KINDS[name](**settings)
        if name == "forecaster":
            model.half_width.fill_(1.5)
        save_model(folder, name, settings, model)
    return folder


@pytest.fixture(scope="session")
def models(folder):
    return load_models(folder)


@contextmanager
def serving(models, limits=Limits(), token=None):  # noqa: B008 - frozen
    """The address of a running service, "127.0.0.1:PORT"."""
    server = uvicorn.Server(configured(create_app(models, limits, token), "127.0.0.1", 0, limits))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield "{}:{}".format(*server.servers[0].sockets[0].getsockname())
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def service():
    return serving


@pytest.fixture(scope="session")
def address(models):
    with serving(models) as address:
        yield address


@pytest.fixture(scope="session")
def client(address):
    with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        yield client
