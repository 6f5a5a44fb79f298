"""One rank of test_distributed.py: the checks of its group of processes, and how each ended, in FOLDER/RANK.json.

    python split_rank.py FOLDER RANK SIZE              all checks
    python split_rank.py FOLDER RANK SIZE SIGKILL      train, and lose rank 1 by a signal in mid-step

A check computes on every rank a model on the whole sequence, in the rank's own process, and the same model split, on
the rank's stretch.  All ranks draw the same random numbers.  The largest errors are in FOLDER/errors-RANK.json.
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import sys
import traceback
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from resonance import (
    BandMixing,
    CausalMixing,
    CausalResonance,
    DocumentClassifier,
    EnergySelection,
    LearnedSelection,
    LongContextResonanceNet,
    ResonanceAudioNet,
    ResonanceLayer,
    ResonanceLM,
    ResonanceNet,
    SelectiveMixing,
    long_context,
)
from resonance.band import next_power_of_two
from resonance.distributed import own_stretch, split_sequence, sum_gradients, whole
from resonance.layers import AsSelfAttention, FeedForward

FOLDER, RANK, SIZE = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
CHECKS, ERRORS = {}, {}  # by name; the largest relative error of each comparison


def check(function):
    CHECKS[function.__name__] = function
    return function


def cut(draw: random.Random, n: int, rank: int = RANK, size: int = SIZE) -> slice:
    """This rank's stretch of n samples cut anywhere, stretches of one sample among them."""
    return slice(*list(pairwise([0, *sorted(draw.sample(range(1, n), size - 1)), n]))[rank])


def split(model: nn.Module, own: slice, group=None) -> nn.Module:
    return split_sequence(model, own.stop - own.start, group)


@torch.no_grad()
def close(ours, reference, scale, what: str, tolerance: float | None = None) -> None:
    """Raise AssertionError unless the error is small against the norm of `scale`."""
    error, size = (ours - reference).norm().item(), scale.norm().item()
    ERRORS[what] = max(ERRORS.get(what, 0.0), error / max(size, 1e-300))
    bound = (tolerance or TOLERANCE[ours.dtype]) * size
    assert ours.shape == reference.shape and error <= bound, f"{what}: an error of {error} where {bound} is allowed"


def compare(model: nn.Module, x: torch.Tensor, own: slice, group=None, tolerance: float | None = None) -> None:
    """Check outputs and all gradients of a model, whole and split; it is split afterwards."""
    torch.manual_seed(0)
    found, g = [], None
    for part in (slice(None), own):
        leaf = x[:, part].clone()
        if x.is_floating_point():
            leaf.requires_grad_(True)
        if part is own:
            split(model, own, group)
        model.zero_grad()
        y = model(leaf)
        g = torch.randn_like(y) if g is None else g
        (y * g[:, part]).sum().backward()
        if part is own:
            for p in (p for p in model.parameters() if p.grad is not None and p.dim() == 2):
                p.grad = p.grad.T.contiguous().T  # in any layout
            sum_gradients(model, group)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((y.detach(), leaf.grad, {name: grad.clone() for name, grad in gradients.items()}))
    (y, x_grad, gradients), (own_y, own_x_grad, own_gradients) = found
    close(own_y, y[:, own], y, "output", tolerance)
    if x_grad is not None:
        close(own_x_grad, x_grad[:, own], x_grad, "gradient of x", tolerance)
    assert gradients and gradients.keys() == own_gradients.keys()
    scale = torch.cat([reference.flatten() for reference in gradients.values()])  # one may be small by cancellation
    for name, reference in gradients.items():
        close(own_gradients[name], reference, scale, f"gradient of {name}", tolerance)


def refused(call, *words: str) -> None:
    """Raise AssertionError unless the call raises ValueError with these words."""
    try:
        call()
    except ValueError as error:
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError(f"not refused: {words}")


# --------------------------------------------------------------------------- equal to one process


@check
def band_mixing_is_that_of_the_whole():
    draw = random.Random(0)
    for trial in range(40):
        n = draw.choice([draw.randint(SIZE, 40), draw.randint(41, 700)])
        window = draw.choice([None, n + draw.randint(0, 50)])
        top = next_power_of_two(window or n) // 2 + 1
        k, dtype = draw.choice([1, top, draw.randint(1, top)]), draw.choice([*TOLERANCE])
        engine, interference = draw.choice(["fft", "dense", "fast", "auto"]), draw.random() < 0.5
        torch.manual_seed(trial)
        mixing = BandMixing(3, k, window=window, engine=engine, interference=interference, dtype=dtype)
        compare(mixing, torch.randn(2, n, 3, dtype=dtype), cut(draw, n))


@check
def the_causal_form_is_that_of_the_whole():
    draw = random.Random(1)
    for trial in range(30):
        n = draw.choice([draw.randint(SIZE, 40), draw.randint(41, 700)])
        k, longest, dtype = draw.choice([1, 2, 5]), draw.choice([2, 64, 2**15]), draw.choice([*TOLERANCE])
        kind, engine = draw.choice([CausalMixing, CausalResonance]), draw.choice(["fft", "chunked", "auto"])
        torch.manual_seed(trial)
        layer = kind(3, k, longest=longest, engine=engine, dtype=dtype)
        compare(layer, torch.randn(2, n, 3, dtype=dtype), cut(draw, n))


@check
def models_are_those_of_the_whole():
    draw = random.Random(2)
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    encoder.self_attn = AsSelfAttention(BandMixing(4, 9, window=300))
    models = [
        ResonanceNet(4, 3, 8, 3, dropout=0.0),
        ResonanceNet(4, 6, 8, 3, dropout=0.0, window=300, output_dim=2),
        nn.Sequential(nn.Linear(4, 8), ResonanceLayer(8, 17, window=300), nn.GELU(), FeedForward(8), nn.Linear(8, 2)),
        SelectiveMixing(4, EnergySelection(20, 5), 20, window=300),
        SelectiveMixing(4, LearnedSelection(20, 5), 20, window=300),
        BandMixing(4, frequencies=[0, 3, 64, 256], window=300),
        encoder,
    ]
    for model in models:
        for n in (3 * SIZE, 257):
            compare(whole(model.double()), torch.randn(2, n, 4, dtype=torch.float64), cut(draw, n))
    again, x = ResonanceNet(4, 6, 8, 3, dropout=0.0, window=300), torch.randn(2, 300, 4)
    y = again(x[:, :257])
    compare(again, x, own_stretch(300))
    own = cut(draw, 257)  # another length, without `whole` in between
    close(split(again, own)(x[:, own]), y[:, own], y, "output of another length")
    compare(ResonanceLM(11, 8, 2, 4).double(), torch.randint(11, (2, 50)), cut(draw, 50))


@check
def long_contexts_are_those_of_the_whole():
    draw, options = random.Random(3), {"hidden_dim": 8, "num_frequencies": 6, "local_frequencies": 4}
    for n, spanned in ((128, 32), (117, 2**14), (16 * (SIZE - 1) + 1, 32)):
        chunks = cut(draw, -(-n // 16))
        own = slice(16 * chunks.start, min(n, 16 * chunks.stop))
        for watched in (False, True):  # by the reversible stack, by plain autograd
            torch.manual_seed(n)
            model = LongContextResonanceNet(3, 128, 16, 3, **options).double()
            if watched:
                model.layers[1].register_forward_hook(lambda *_: None)
            x = torch.randn(2, n, 3, dtype=torch.float64)
            with patch.object(long_context, "SPAN", spanned), torch.no_grad():
                y = model(x)
            with patch.object(long_context, "SPAN", spanned):
                compare(model, x, own, tolerance=1e-10)  # the stack subtracts what it has added, whole and split
                streamed = torch.cat(list(model.stream(x[:, own].split(16, dim=1))), dim=1)
                with torch.no_grad():
                    again = model(x[:, own])
            close(streamed, y[:, own], y, "stream")
            close(again, y[:, own], y, "without gradients")


@check
def second_derivatives_are_those_of_the_whole():
    torch.manual_seed(0)
    own = own_stretch(60)
    for layer in (ResonanceLayer(3, 9, window=60).double(), CausalResonance(3, 4, engine="chunked").double()):
        x, found = torch.randn(2, 60, 3, dtype=torch.float64), []
        for part in (slice(None), own):
            if part is own:
                split(layer, own)
            leaf = x[:, part].clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(layer(leaf).pow(3).sum(), leaf, create_graph=True)
            layer.zero_grad()
            slope.square().sum().backward()
            if part is own:
                sum_gradients(layer)
            found.append([leaf.grad, *(p.grad.clone() for p in layer.parameters())])
        (x_grad, *gradients), (own_x_grad, *own_gradients) = found
        close(own_x_grad, x_grad[:, own], x_grad, "x")
        for ours, reference in zip(own_gradients, gradients, strict=True):
            close(ours, reference, reference, "a parameter")


@check
def half_precision_keeps_its_precision():
    torch.manual_seed(0)
    own = own_stretch(200)
    for dtype in (torch.bfloat16, torch.float16):
        for layer in (ResonanceLayer(8, 9), CausalResonance(8, 4)):
            x = torch.randn(2, 200, 8)
            y = layer(x)
            with torch.autocast("cpu", dtype=dtype):
                ours = split(layer, own)(x[:, own])
            ours.float().square().sum().backward()
            assert (ours.float() - y[:, own]).norm() < 0.02 * y.norm()
            assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
        low = split(whole(layer).to(dtype), own)(x[:, own].to(dtype))
        assert low.dtype == dtype and (low.float() - y[:, own]).norm() < 0.05 * y.norm()
    layer, x = ResonanceLayer(8, 9, window=200), torch.randn(2, 200, 8)
    y = layer(x)
    low = split(layer.bfloat16(), own)(x[:, own].bfloat16())
    assert low.dtype == torch.bfloat16 and (low.float() - y[:, own]).norm() < 0.05 * y.norm()


@check
def groups_within_the_processes_split_their_own_sequences():
    draw = random.Random(4)
    sizes = {2: [1, 1], 4: [3, 1]}[SIZE]  # a scan of states over three ranks too
    groups = [dist.new_group(list(range(start, stop))) for start, stop in pairwise([0, sizes[0], SIZE])]
    at = 0 if sizes[0] > RANK else 1
    size, group = sizes[at], groups[at]
    rank = dist.get_rank(group)
    for make in (lambda: BandMixing(3, 5, window=64), lambda: CausalResonance(3, 5)):
        own = cut(draw, 50, rank, size)
        compare(make().double(), torch.randn(2, 50, 3, dtype=torch.float64), own, group)
    refused(lambda: own_stretch(50, groups[1 - at]), "belongs to")
    if SIZE == 4:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("batch", "sequence"))
        torch.manual_seed(0)
        model, x = ResonanceNet(3, 5, 8, 2, dropout=0.0).double(), torch.randn(2, 50, 3, dtype=torch.float64)
        y = model(x)
        y.square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        own, row = own_stretch(50, mesh["sequence"]), slice(RANK // 2, RANK // 2 + 1)
        model.zero_grad()
        ours = split(model, own, mesh["sequence"])(x[row, own])
        ours.square().sum().backward()
        sum_gradients(model)  # over all processes: both halves of the batch
        close(ours, y[row, own], y, "output")
        for p, reference in zip((p for p in model.parameters() if p.grad is not None), gradients, strict=True):
            close(p.grad, reference, reference, "a gradient")


@check
def one_rank_is_the_plain_layer_to_the_bit():
    alone = [dist.new_group([rank]) for rank in range(SIZE)][RANK]
    torch.manual_seed(0)
    layers = ResonanceLayer(3, 9), CausalResonance(3, 5), ResonanceNet(3, 9, 8, 2, dropout=0.0)
    for model in (*layers, LongContextResonanceNet(3, 64, 16, 2, hidden_dim=8, num_frequencies=6, local_frequencies=4)):
        x = torch.randn(2, 50, 3)
        y = model(x)
        kinds = [type(module) for module in model.modules()]
        before = {name: part.clone() for name, part in model.state_dict().items()}
        split_sequence(model, 50, alone)
        assert torch.equal(model(x), y) and torch.equal(copy.deepcopy(model)(x), y)
        assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
        refused(lambda model=model, x=x: model(x[:, :49]), "Split", "n=50", "49")
        whole(model)
        assert torch.equal(model(x), y) and kinds == [type(module) for module in model.modules()]
        assert not any(hasattr(module, "stretch") for module in model.modules())


# --------------------------------------------------------------------------- what is exchanged, what is refused


@check
def a_layer_exchanges_2_k_d_numbers_a_direction():
    numbers, reduce, send = [], dist.all_reduce, dist.batch_isend_irecv

    def counted_reduce(x, **options):
        numbers.append(x.numel())
        return reduce(x, **options)

    def counted_send(parts):
        numbers.extend(part.tensor.numel() for part in parts if part.op is dist.isend)
        return send(parts)

    def counted(model, x) -> tuple[list[int], list[int]]:
        numbers.clear()
        y = model(x.requires_grad_(True))
        forward = numbers.copy()
        numbers.clear()
        y.sum().backward()
        return forward, numbers.copy()

    batch, k, d, layers = 2, 5, 8, 3
    band, long = 2 * k * d * batch, {"hidden_dim": d, "num_frequencies": k, "local_frequencies": 4}
    never = "all_gather", "all_gather_object", "all_gather_into_tensor", "broadcast", "all_to_all", "reduce_scatter"
    for n in (64, 512):
        net = split_sequence(ResonanceNet(3, k, d, layers, dropout=0.0), n // SIZE)
        context = split_sequence(LongContextResonanceNet(3, 512, 16, layers, **long), n // SIZE)
        mixing = split_sequence(CausalMixing(d, k), n // SIZE)
        reaches = [2**j for j in range(SIZE.bit_length() - 1)]
        sent = [band for reach in reaches if RANK + reach < SIZE], [band for reach in reaches if reach <= RANK]
        with ExitStack() as stack:
            stack.enter_context(patch.object(dist, "all_reduce", counted_reduce))
            stack.enter_context(patch.object(dist, "batch_isend_irecv", counted_send))
            for name in never:
                stack.enter_context(patch.object(dist, name, None))
            found = [counted(model, torch.randn(batch, n // SIZE, 3)) for model in (net, context)]
            found.append(counted(mixing, torch.randn(batch, n // SIZE, d)))
        assert found == [([band] * layers, [band] * layers)] * 2 + [sent], found


@check
def what_cannot_be_split_is_refused_by_name():
    for model, name in (
        (DocumentClassifier(10, 2, 8, window=40), "model (DocumentClassifier)"),
        (ResonanceAudioNet(3), "ResonanceAudioNet"),
        (ResonanceLM(11, 8, 1, 4, recall_heads=2), "blocks.0.mixers.1 (HolographicRecall)"),
        (nn.Sequential(ResonanceLayer(8, 3), nn.MultiheadAttention(8, 2)), "1 (MultiheadAttention)"),
        (nn.Sequential(nn.Conv1d(3, 8, 3), nn.LSTM(8, 8)), "0 (Conv1d), 1 (LSTM)"),
        (nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.BatchNorm1d(8), nn.GroupNorm(2, 8)), "2 (GroupNorm)"),
    ):
        refused(lambda model=model: split_sequence(model, 20), "can be split", name)
    refused(lambda: split_sequence(ResonanceLayer(8, 3, window=20 * SIZE - 1), 20), f"n={20 * SIZE}", "window")
    refused(lambda: split_sequence(ResonanceLayer(8, 60), 8), "k=60")
    refused(lambda: split_sequence(LongContextResonanceNet(3, 128, 64, 1), 8), "a chunk of 64", "[8")
    refused(lambda: split_sequence(ResonanceLayer(8, 3), 0 if RANK else 5), "at least 1 sample", "0]")
    refused(lambda: own_stretch(17 * (SIZE - 1), multiple=17), f"{SIZE} ranks", "multiples of 17")
    layer, n = ResonanceLayer(8, 3), 5
    model, lm = split_sequence(ResonanceNet(3, 3, 8, 1), n), split_sequence(ResonanceLM(11, 8, 1, 4), n)
    x, causal = torch.randn(2, n, 8), split_sequence(CausalResonance(8, 3), n)
    for call, kind in (
        (lambda: split_sequence(layer, n)(x, torch.tensor([5, 3])), "ResonanceLayer"),
        (lambda: model(x[..., :3], lengths=[5, 3]), "ResonanceNet"),
        (lambda: model(x[..., :3], use_memory=True), "ResonanceNet"),
        (lambda: model(x[..., :3], store_to_memory=True), "ResonanceNet"),
        (lambda: causal(x, torch.tensor([5, 3])), "CausalMixing"),
        (lambda: causal.extend(x, causal.initial_state(2)), "TokenShift"),
        (lambda: causal.mixing.extend(x, causal.mixing.initial_state(2)), "CausalMixing"),
        (lambda: lm.generate(torch.zeros(1, n, dtype=torch.int64), 2), "TokenShift"),
    ):
        refused(call, kind, "need the whole sequence")


# --------------------------------------------------------------------------- training


def shards(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    from torch.distributed.fsdp import fully_shard  # here, as below: a second of each process

    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def train(model: nn.Module, steps: int, x, target, optimizer=None) -> tuple[list[float], torch.optim.Optimizer]:
    """Losses of some steps, averaged over the ranks that hold a part, and the optimizer."""
    optimizer, losses = optimizer or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, optimizer


@check
def training_by_ddp_and_fsdp_and_a_resumed_one_are_those_of_one_process():
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    n, mesh = 64, init_device_mesh("cpu", (SIZE,))
    half = init_device_mesh("cpu", (2, SIZE // 2), mesh_dim_names=("copy", "sequence"))["sequence"]

    def made() -> nn.Module:
        torch.manual_seed(0)
        return ResonanceNet(3, 5, 8, 2, dropout=0.0, holographic_capacity=0, window=n)

    def on_ranks(model, steps, group, optimizer=None):
        own = own_stretch(n, group)
        losses, optimizer = train(model, steps, x[:, own], target[:, own], optimizer)
        for loss in losses:
            dist.all_reduce(loss)
        return torch.stack(losses) / SIZE, optimizer

    torch.manual_seed(1)
    x, target = torch.randn(2, 4, n, 3)
    expected = torch.stack(train(made(), 8, x, target)[0])
    assert expected[-1] < 0.9 * expected[0]
    ddp = DistributedDataParallel(split(made(), own_stretch(n)))
    close(on_ranks(ddp, 8, None)[0], expected, expected, "losses by DDP")
    model = shards(split(made(), own_stretch(n)), mesh)
    losses, optimizer = on_ranks(model, 4, None)
    close(losses, expected[:4], expected, "losses by FSDP")
    state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
    dcp.save(state, checkpoint_id=FOLDER / "checkpoint")
    again = shards(split(made(), own_stretch(n, half), half), half)  # on half as many ranks, twice
    optimizer = torch.optim.SGD(again.parameters(), 0.1, momentum=0.9)
    state = dict(zip(("model", "optimizer"), get_state_dict(again, optimizer), strict=True))
    dcp.load(state, checkpoint_id=FOLDER / "checkpoint", process_group=half.get_group())
    set_state_dict(again, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    close(on_ranks(again, 4, half, optimizer)[0], expected[4:], expected, "losses resumed on half as many ranks")


def lose_a_rank(how: str) -> str:
    """The error of training when rank 1 is lost by a signal within a step."""
    group = dist.new_group(timeout=timedelta(seconds=5))
    model = split_sequence(ResonanceNet(3, 5, 8, 3, dropout=0.0), 20, group)
    if RANK == 1:
        model.layers[1].register_forward_hook(lambda *_: os.kill(os.getpid(), getattr(signal, how)))
    try:
        model(torch.randn(1, 20, 3)).sum().backward()
        return "no error"
    except RuntimeError as error:
        return str(error)


if __name__ == "__main__":
    torch.set_num_threads(1)
    meet = {"init_method": f"file://{FOLDER}/meet", "rank": RANK, "world_size": SIZE}
    dist.init_process_group("gloo", **meet, timeout=timedelta(seconds=600))
    found = {}
    for name in sys.argv[4:] or CHECKS:
        try:
            found[name] = (CHECKS[name]() or "") if name in CHECKS else lose_a_rank(name)
        except Exception:
            found[name] = traceback.format_exc()
            break  # the others would wait for this rank
    (FOLDER / f"errors-{RANK}.json").write_text(json.dumps(ERRORS))
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # an orderly end would wait for a rank that is lost
