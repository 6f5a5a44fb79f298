"""State dicts under torch.distributed: checkpoints by two processes, and parameters sharded over them."""

from __future__ import annotations

import subprocess
import sys

from artifact.files import ROOT

WORK = """
import sys, warnings
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from resonance import PolarTrainer, ResonanceNet
from resonance.training.checkpoint import load_weights, save_weights

warnings.simplefilter("ignore")
folder, rank = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)


def made(kind, seed, window):
    torch.manual_seed(seed)
    model = ResonanceNet(4, 4, 8, 2, dropout=0.0, window=window)
    if kind == "sharded":
        mesh = init_device_mesh("cpu", (2,))
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def refused(call):
    try:
        call()
    except (RuntimeError, TypeError, ValueError) as error:
        return str(error)
    raise AssertionError("not refused")


def load(kind, model):
    state = {"model": get_model_state_dict(model)}
    dcp.load(state, checkpoint_id=f"{folder}/{kind}")
    set_model_state_dict(model, state["model"])


def check(kind):
    model, x = made(kind, 0, 50), torch.randn(2, 40, 4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = model(x).detach()
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    y = model(x).detach()
    assert (y - before).norm() > 0.01 * before.norm()
    dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=f"{folder}/{kind}")

    again = made(kind, 1, 50)
    assert not torch.allclose(again(x), y)
    load(kind, again)
    torch.testing.assert_close(again(x), y)
    load(kind, made(kind, 1, 64))  # other digits of one grid: one meaning
    said = refused(lambda: load(kind, made(kind, 1, 200)))
    assert "expected weights of window=200, found weights of window=50" in said, said

    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        plain = ResonanceNet(4, 4, 8, 2, dropout=0.0, window=50)
        plain.load_state_dict(whole)
        torch.testing.assert_close(plain(x), y)
        save_weights(whole, f"{folder}/whole.safetensors")
        load_weights(plain, f"{folder}/whole.safetensors")
    if kind == "sharded":
        for call in (
            lambda: PolarTrainer(model),
            lambda: save_weights(model, f"{folder}/part.safetensors"),
            lambda: load_weights(model, f"{folder}/whole.safetensors"),
            lambda: save_weights(get_model_state_dict(model), f"{folder}/part.safetensors"),
        ):
            dist.barrier()
            assert "expected whole" in (said := refused(call)) and "DTensor" in said, said


for kind in ("replicated", "sharded"):
    check(kind)
dist.destroy_process_group()
"""


def test_distributed_checkpoints_keep_weights_and_compare_settings(tmp_path):
    run = [sys.executable, "-c", WORK, str(tmp_path)]
    both = [subprocess.Popen([*run, rank], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in "01"]
    try:
        said = [process.communicate(timeout=300)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
