"""One rank of a group of processes: it does tasks in turn and writes what each found to FOLDER/RANK.json.

`group.run_ranks` starts the ranks and reads what they found.  A task that fails ends its rank; so does the loss of
another rank, with the error of `resonance.distributed`.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from artifact.files import write_text
from artifact.studies.common.processes import end_with_parent
from artifact.studies.common.timing import resident_bytes
from artifact.studies.scaling_out.hosts import bytes_sent, enter
from resonance import CausalResonance, LongContextResonanceNet, ResonanceNet
from resonance.causal_mixing import CausalMixing
from resonance.distributed import own_stretch, split_sequence, sum_gradients
from resonance.training.checkpoint import written_aside

SHAPE = {"input_dim": 64, "dim": 256, "layers": 6, "frequencies": 64, "chunk": 2048}  # that of 06_long_context
BATCH, WIDTH = 2, 3  # of the small models


def network(n: int, seed: int = 0) -> LongContextResonanceNet:
    """The network of `SHAPE` for n tokens, the same on every rank."""
    torch.manual_seed(seed)
    s = SHAPE
    options = {"hidden_dim": s["dim"], "num_frequencies": s["frequencies"]}
    return LongContextResonanceNet(s["input_dim"], n, s["chunk"], s["layers"], **options)


def split(model: nn.Module, n: int, multiple: int = 1) -> slice:
    """Split a model over all ranks, for n tokens; return this rank's stretch."""
    own = own_stretch(n, multiple=multiple)
    split_sequence(model, own.stop - own.start)
    return own


# --------------------------------------------------------------------------- equal to one process


def equality(n: int, dim: int = 16, layers: int = 3) -> list[dict]:
    """Errors of outputs and of gradients of split models against the same ones on the whole sequence, by model.

    Norm of the error over that of the whole, on this rank's stretch; gradients of all parameters and of the input.
    """
    torch.manual_seed(0)
    net = ResonanceNet(WIDTH, 9, dim, layers, dropout=0.0, holographic_capacity=0, window=n)
    options = {"hidden_dim": dim, "num_frequencies": 9, "local_frequencies": 5}
    long = LongContextResonanceNet(WIDTH, n, 16, layers, **options)
    causal = nn.Sequential(nn.Linear(WIDTH, dim), *(CausalResonance(dim, 5) for _ in range(layers)))
    x, rows = torch.randn(BATCH, n, WIDTH), []
    for model in (net, long, causal):
        name = "CausalResonance" if model is causal else type(model).__name__
        y, gradients = _passed(model, x)
        own = split(model, n, 16)
        own_y, own_gradients = _passed(model, x[:, own], split=True)
        expected = _flat([gradients[0][:, own], *gradients[1:]])
        output = (own_y - y[:, own]).norm() / y.norm()
        gradient = (_flat(own_gradients) - expected).norm() / _flat(gradients).norm()
        rows.append({"model": name, "n": n, "output": output.item(), "gradient": gradient.item()})
    return rows


def _passed(model: nn.Module, x: Tensor, *, split: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Output, and the gradients of x and of all parameters, of the loss |y|^2 / 2."""
    leaf = x.clone().requires_grad_(True)
    model.zero_grad()
    y = model(leaf)
    (y.square().sum() / 2).backward()
    if split:
        sum_gradients(model)
    return y.detach(), [leaf.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


# --------------------------------------------------------------------------- what crosses the wire


def quiet(seconds: float = 0.1) -> int:
    """Bytes sent so far through the interface, once what was under way has arrived."""
    time.sleep(seconds)
    return bytes_sent()


def wire(lengths: list[int], repeats: int = 1) -> list[dict]:
    """Bytes that this rank sends in one pass, counted at the interface, by model, n and direction.

    Of `network`, layers together, and of one `CausalMixing`; "weights" is the sum of all parameters' gradients.
    """
    rows = []
    for n in lengths:
        long, causal = network(n), CausalMixing(SHAPE["dim"], SHAPE["frequencies"])
        for model, width in ((long, SHAPE["input_dim"]), (causal, SHAPE["dim"])):
            own = split(model, n, SHAPE["chunk"])
            x = torch.randn(1, own.stop - own.start, width, requires_grad=True)
            _counted(model, x)  # connects the ranks
            kind = {"model": type(model).__name__.removeprefix("Split"), "n": n}
            counts = [_counted(model, x) for _ in range(repeats)]
            kind["weights"] = sum(p.numel() for p in model.parameters() if p.grad is not None)
            rows += [kind | {"direction": name, "bytes": sent} for one in counts for name, sent in one.items()]
    return rows


def _counted(model: nn.Module, x: Tensor) -> dict[str, int]:
    model.zero_grad()
    dist.barrier()
    counts = [quiet()]
    y = model(x)
    counts.append(quiet())
    y.sum().backward()
    counts.append(quiet())
    sum_gradients(model)
    counts.append(quiet())
    return {name: b - a for name, a, b in zip(("forward", "backward", "weights"), counts, counts[1:], strict=False)}


# --------------------------------------------------------------------------- time


def step(n: int, repeats: int = 1) -> dict:
    """Seconds of training steps of `network` on n tokens, this rank's peak of memory, and what it held before.

    All gradients summed over the ranks, then Adam.  A first step, not counted, warms up.
    """
    start = resident_bytes(peak=False)
    model = network(n)
    own = split(model, n, SHAPE["chunk"])
    generator = torch.Generator().manual_seed(own.start)
    x = torch.randn(1, own.stop - own.start, SHAPE["input_dim"], generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    seconds = []
    for _ in range(1 + repeats):
        dist.barrier()
        begin = time.perf_counter()
        optimizer.zero_grad()
        (model(x).square().sum() / n).backward()
        sum_gradients(model)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    sizes = [p.numel() for p in model.parameters() if p.grad is not None]
    memory = {"peak": resident_bytes(peak=True), "start": start, "weights": sum(sizes), "tensors": len(sizes)}
    return {"n": n, "own": own.stop - own.start, "seconds": seconds[1:], **memory}


def reduces(sizes: list[int], rounds: int, seconds: float = 0.05) -> list[dict]:
    """Seconds of one all-reduce by its bytes, in each round, in which the sizes alternate."""
    rows = []
    for turn in range(-1, rounds):  # the first, not kept, warms up
        for size in sizes:
            x = torch.zeros(size // 4)
            one = _each(x, 1)
            calls = torch.tensor(max(1, int(seconds / one)))
            dist.broadcast(calls, 0)
            taken = _each(x, int(calls))
            if turn >= 0:
                rows.append({"bytes": size, "round": turn, "seconds": taken})
    return rows


def _each(x: Tensor, calls: int) -> float:
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        dist.all_reduce(x)
    return (time.perf_counter() - begin) / calls


# --------------------------------------------------------------------------- a rank that is lost


def train(folder: str, steps: int, n: int = 256, *, resume: bool = False, lose: str = "", at: int = 0) -> list[float]:
    """Losses of a short training whose state rank 0 writes to FOLDER/state.pt after every step.

    resume: goes on from that state, on any number of ranks.  lose: a signal, "SIGKILL" say, by which the last rank
    loses itself within step `at`, in its forward pass.
    """
    torch.manual_seed(0)
    model = ResonanceNet(WIDTH, 9, 16, 3, dropout=0.0, holographic_capacity=0, window=n)
    x, target = torch.randn(2, BATCH, n, WIDTH)
    own = split(model, n)
    optimizer, begin = torch.optim.Adam(model.parameters(), 1e-2), 0
    state = Path(folder) / "state.pt"
    if resume:
        kept = torch.load(state, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        begin = kept["step"] + 1
    losses = []
    for number in range(begin, steps):
        if lose and number == at and dist.get_rank() == dist.get_world_size() - 1:
            model.layers[1].register_forward_hook(lambda *_: os.kill(os.getpid(), getattr(signal, lose)))
        optimizer.zero_grad()
        loss = (model(x[:, own]) - target[:, own]).square().sum() / target.numel()
        loss.backward()
        sum_gradients(model)
        optimizer.step()
        total = loss.detach()
        dist.all_reduce(total)
        losses.append(total.item())
        if dist.get_rank() == 0:
            with written_aside(state) as aside:
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": number}, aside)
    dist.barrier()
    return losses


TASKS = {function.__name__: function for function in (equality, wire, step, reduces, train)}


def run(job: dict) -> None:
    """Do the tasks of a job as one rank, then end the process: `group.run_ranks` says what a job has."""
    folder, rank = Path(job["folder"]), job["rank"]
    with (folder / f"{rank}.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    found, error = [], ""
    try:
        end_with_parent()
        if job["space"]:
            enter(job["space"])
        os.environ["GLOO_SOCKET_IFNAME"] = job["interface"]
        torch.set_num_threads(job["threads"])
        meet = {"init_method": job["meet"], "rank": rank, "world_size": job["size"]}
        dist.init_process_group("gloo", **meet, timeout=timedelta(seconds=job["timeout"]))
        for name, options in job["tasks"]:
            found.append(TASKS[name](**options))
            dist.barrier()
    except Exception as raised:
        error = str(raised) if "could not exchange" in str(raised) else traceback.format_exc()
    write_text(folder / f"{rank}.json", json.dumps({"found": found, "error": error}))
    os._exit(1 if error else 0)  # an orderly end would wait for a rank that is lost
