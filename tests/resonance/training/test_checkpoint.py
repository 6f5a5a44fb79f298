"""Checkpoints and weights: what is kept, what is refused, and that nothing read can run."""

from __future__ import annotations

import errno
import json
import pickle
import random
import shutil

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn

from resonance import PolarTrainer, ResonanceNet, ResonanceTrainer
from resonance.training import checkpoint
from resonance.training.checkpoint import (
    Checkpoint,
    load_weights,
    random_state,
    read_checkpoint,
    read_weights,
    save_weights,
    set_random_state,
    set_weights,
    write_checkpoint,
)

X = torch.randn(4, 16, 3, generator=torch.Generator().manual_seed(0))


def trainer_of(*, hidden: int = 8, rate: float = 1e-2, **options) -> PolarTrainer:
    torch.manual_seed(0)
    return PolarTrainer(ResonanceNet(3, 5, hidden, 1, 0, dropout=0.1), rate, rate, **options)


# --------------------------------------------------------------------------- weights


class Tied(nn.Module):
    """Tied weights, a view of another tensor, a transposed tensor, an empty one, several dtypes."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("row", self.embedding.weight.detach()[1])
        self.register_buffer("turned", torch.randn(3, 2).T)
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("also_empty", torch.zeros(0, 3))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("brief", torch.randn(3).bfloat16())
        self.register_buffer("long", torch.randn(3).double())


def test_weights_round_trip_with_buffers_and_shared_tensors(tmp_path):
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    for (name, value), found in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert found.dtype == value.dtype and torch.equal(found, value), name
    assert other.head.weight is other.embedding.weight
    from safetensors import safe_open

    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "embedding.weight" in file.keys() and "head.weight" not in file.keys()  # noqa: SIM118


def test_weights_of_tied_models_load_into_untied_ones(tmp_path):
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    other.head.weight = nn.Parameter(torch.zeros(5, 4))
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(other.head.weight, model.embedding.weight)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: ResonanceNet(3, 5, 16, 1, 0), r"expected input_projection.weight of .*\(16, 3\).*, found .*\(8, 3\)"),
        (lambda: ResonanceNet(3, 5, 8, 2, 0), r"expected also \['layers.1"),
        (lambda: ResonanceNet(3, 5, 8, 1, 0).double(), r"torch.float64.*found \(torch.float32"),
        (lambda: nn.Linear(2, 2), r"expected also \['weight', 'bias'\], found instead \['input_projection.bias'"),
    ],
)
def test_weights_of_another_model_are_refused_whole(tmp_path, other, says):
    save_weights(ResonanceNet(3, 5, 8, 1, 0), tmp_path / "model.safetensors")
    model = other()
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(ValueError, match=rf"model\.safetensors is of another model: (?s:.*){says}"):
        load_weights(model, tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


def test_weights_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no file"):
        read_weights(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("some text, not weights")
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        read_weights(tmp_path / "text.safetensors")
    with pytest.raises(TypeError, match="expected whole tensors, got rate of type float"):
        save_weights({"rate": 0.1}, tmp_path / "model.safetensors")


# --------------------------------------------------------------------------- random sources


def test_every_source_of_random_numbers_goes_on_where_it_stood():
    generators = [
        torch.Generator().manual_seed(1),
        np.random.default_rng(2),
        np.random.Generator(np.random.MT19937(3)),
        np.random.Generator(np.random.Philox(4)),
        np.random.Generator(np.random.SFC64(5)),
        random.Random(6),
    ]

    def draw():
        own = [torch.rand(3, generator=generators[0]).tolist(), *(g.random(3).tolist() for g in generators[1:5])]
        shared = [torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0.0, 1.0)]  # noqa: NPY002
        return [*own, generators[5].gauss(0.0, 1.0), *shared]

    draw()  # an odd number of normal numbers: numpy and Python keep the second of the pair
    state = random_state(generators)
    expected = draw()
    assert draw() != expected
    set_random_state(state, generators)
    assert draw() == expected


def test_other_generators_than_before_are_refused():
    state = random_state([torch.Generator()])
    for other in ([], [random.Random()], [torch.Generator(), torch.Generator()]):
        with pytest.raises(ValueError, match=r"expected the state of the generators .*, found \['torch'\]"):
            set_random_state(state, other)
    with pytest.raises(TypeError, match=r"torch\.Generator.*got int"):
        random_state([3])


# --------------------------------------------------------------------------- checkpoints


@pytest.fixture
def saved(tmp_path):
    """A folder with a checkpoint of a run of two epochs, with validation."""
    trainer_of().fit(lambda epoch: [X] * 3, 2, lambda model: model(X).sum().item(), checkpoint=tmp_path)
    return tmp_path


def test_a_checkpoint_holds_the_last_and_the_best_weights(tmp_path):
    trainer, last, best = trainer_of(), {}, {}
    figures = iter([3.0, 1.0, 2.0])

    def validate(model):
        figure = next(figures)
        (best if figure == 1.0 else last).update({name: value.clone() for name, value in model.state_dict().items()})
        return figure

    trainer.fit(lambda epoch: [X] * 3, 2, validate, checkpoint=tmp_path)
    found = read_checkpoint(tmp_path)
    assert found.step == 6
    for kept, expected in ((found.weights, last), (found.best, best)):
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[name], expected[name]) for name in kept)
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"checkpoint.json", "weights", "best", "state"}


def test_a_loop_of_ones_own_saves_and_resumes(tmp_path):
    trainer, order = trainer_of(), torch.Generator().manual_seed(0)
    assert not trainer.resume(tmp_path / "nothing yet")
    run = [trainer.train_step(X[torch.randperm(4, generator=order)[:3]])[0] for _ in range(3)]
    trainer.save(tmp_path, [order])
    run += [trainer.train_step(X[torch.randperm(4, generator=order)[:3]])[0] for _ in range(3)]
    other, order = trainer_of(), torch.Generator()
    assert other.resume(tmp_path, [order]) and other.steps == 3
    assert [other.train_step(X[torch.randperm(4, generator=order)[:3]])[0] for _ in range(3)] == run[3:]


class Counted(nn.Module):
    """A model with state that is no tensor."""

    def __init__(self):
        super().__init__()
        self.linear, self.keys = nn.Linear(3, 3), []

    def forward(self, x):
        self.keys.append(f"call {len(self.keys)}")
        return self.linear(x)

    def get_extra_state(self):
        return {"keys": self.keys}

    def set_extra_state(self, state):
        self.keys = list(state["keys"])


def test_state_that_is_no_tensor_is_kept(tmp_path):
    trainer, other = PolarTrainer(Counted()), PolarTrainer(Counted())
    trainer.train_step(X)
    trainer.save(tmp_path)
    other.resume(tmp_path)
    assert other.model.keys == ["call 0"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 1e-3}, r"expected interference.lr = 0.001, found 0.01"),
        ({"gradient_clip": None}, r"expected gradient_clip = None, found 1.0"),
        ({"bfloat16": True}, r"expected bfloat16 = True, found False"),
        ({"optimizer": torch.optim.SGD}, r"expected interference.\w+ = "),
        ({"schedule": lambda o: torch.optim.lr_scheduler.StepLR(o, 5)}, r"expected schedule = StepLR, found None"),
        ({"hidden": 16}, r"of another model: expected input_projection.weight of .*\(16, 3\).*, found .*\(8, 3\)"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(saved, options, says):
    trainer = trainer_of(**options)
    before = [value.clone() for value in trainer.model.state_dict().values()]
    with pytest.raises(ValueError, match=says):
        trainer.fit(lambda epoch: [X] * 3, 2, checkpoint=saved)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.state_dict().values(), strict=True))


def test_a_checkpoint_of_a_model_with_other_layers_is_refused(saved):
    trainer = PolarTrainer(ResonanceNet(3, 5, 8, 2, 0), 1e-2, 1e-2)
    with pytest.raises(ValueError, match=r"expected \w+ = \[.*layers.1.*found \["):
        trainer.resume(saved)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, halve, lambda path: path.unlink()], ids=["bit", "half", "gone"])
@pytest.mark.parametrize("kind", ["weights-*", "best-*", "state-*"])
def test_a_damaged_file_is_refused_and_named(saved, kind, damage):
    (path,) = saved.glob(kind)
    damage(path)
    with pytest.raises(ValueError, match=rf"(?s)damaged: expected .*(SHA-256|{path.name}).*found") as error:
        trainer_of().resume(saved)
    assert path.name in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected JSON .* found b''"),
        ("\x80\x04 pickle?", "expected JSON"),
        ("[]", "expected the format .* found 'list'"),
        ('{"format": "another 2"}', "expected the format 'resonance checkpoint 2' .* found 'another 2'"),
        ('{"format": "resonance checkpoint 2", "files": 3}', "expected step, settings and files"),
    ],
)
def test_a_foreign_manifest_is_refused(saved, text, says):
    (saved / checkpoint.MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=says):
        trainer_of().resume(saved)


class Exploit:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_that_is_read_runs(saved, tmp_path):
    """A state with a program in it, its digest put right, is refused without running the program."""
    (path,) = saved.glob("state-*")
    for name, write in (
        ("torch", torch.save),
        ("pickle", lambda value, to: to.write_bytes(pickle.dumps(value, protocol=2))),
    ):
        mark = tmp_path / f"{name} ran"
        write({"state": Exploit(mark), "extras": {}}, path)
        manifest = json.loads((saved / checkpoint.MANIFEST).read_text())
        manifest["files"]["state"]["sha256"] = checkpoint._digest(path)
        (saved / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="expected numbers, strings and tensors"):
            read_checkpoint(saved)
        assert not mark.exists()


def test_a_state_that_could_not_be_read_back_is_refused_and_the_old_one_stays(saved):
    before = read_checkpoint(saved)
    with pytest.raises(TypeError, match=r"containers of them, got .*PurePosixPath|Path"):
        write_checkpoint(saved, Checkpoint(7, before.weights, None, {"path": saved}, {}))
    assert read_checkpoint(saved).step == before.step
    assert trainer_of().resume(saved)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("save_file", SafetensorError("I/O error: No space left on device")),
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")),
        ("os.replace", OSError(errno.ENOSPC, "No space left on device")),
        ("written_aside", OSError(errno.EROFS, "Read-only file system")),
    ],
)
def test_a_full_disk_is_said_in_one_way_and_the_old_checkpoint_stays(saved, monkeypatch, place, error):
    """Whatever error each writer has of its own; and what was half written does not keep the disk full."""
    before = sorted(saved.iterdir())

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(f"resonance.training.checkpoint.{place}", fail)
    with pytest.raises(OSError, match=f"could not write to {saved}, where any checkpoint before this one stays: "):
        trainer_of().fit(lambda epoch: [X] * 3, 3, lambda model: model(X).sum().item(), checkpoint=saved)
    monkeypatch.undo()
    assert not list(saved.glob("new-*")) and set(before) <= set(saved.iterdir())
    assert trainer_of().resume(saved)


def test_files_of_others_in_the_folder_are_left_alone(saved):
    own = [saved / name for name in ("best-model.safetensors", "notes.txt", "state-of-affairs.pt")]
    for path in own:
        path.write_text("mine")
    trainer_of().fit(lambda epoch: [X] * 3, 3, lambda model: 0.0, checkpoint=saved)
    assert all(path.read_text() == "mine" for path in own)


def test_a_checkpoint_can_be_moved(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(saved, folder)
    assert trainer_of().resume(folder)


def test_an_epoch_that_became_shorter_is_refused(tmp_path):
    def failing(epoch):
        yield from [X] * 4
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of().fit(failing, 1, checkpoint=tmp_path, checkpoint_every=2)
    with pytest.raises(ValueError, match=r"expected more than 4 batches in epoch 1.*found 3"):
        trainer_of().fit(lambda epoch: [X] * 3, 1, checkpoint=tmp_path)


def test_a_run_is_validated_throughout_or_not_at_all(saved, tmp_path_factory):
    with pytest.raises(ValueError, match="expected validate to be given"):
        trainer_of().fit(lambda epoch: [X] * 3, 3, checkpoint=saved)
    folder = tmp_path_factory.mktemp("plain")
    trainer_of().fit(lambda epoch: [X] * 3, 1, checkpoint=folder)
    with pytest.raises(ValueError, match="expected validate not to be given"):
        trainer_of().fit(lambda epoch: [X] * 3, 3, lambda model: 0.0, checkpoint=folder)


def test_fit_goes_on_from_a_loop_of_ones_own(tmp_path):
    trainer = trainer_of()
    trainer.train_step(X)
    trainer.save(tmp_path)
    trainer = trainer_of()
    history = trainer.fit(lambda epoch: [X] * 3, 2, lambda model: model(X).sum().item(), checkpoint=tmp_path)
    assert trainer.steps == 7 and len(history.validation) == 3 and len(history.train) == 2


def test_weights_that_a_module_refuses_name_their_source():
    model = nn.BatchNorm1d(3)
    weights = model.state_dict() | {"running_mean": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"(?s)the state is of another model.*running_mean"):
        set_weights(model, weights)


# --------------------------------------------------------------------------- wrapped models


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """A process group of one."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def compiled(model):
    return torch.compile(model, backend="eager")


def with_compiled_layer(model):
    model.layers[0] = compiled(model.layers[0])
    return model


WRAPPERS = {
    "none": lambda model: model,
    "compile": compiled,
    "DataParallel": nn.DataParallel,
    "DDP": nn.parallel.DistributedDataParallel,
    "DDP of compile": lambda model: nn.parallel.DistributedDataParallel(compiled(model)),
    "compile of DDP": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "a layer": with_compiled_layer,
    "DDP of a layer": lambda model: nn.parallel.DistributedDataParallel(with_compiled_layer(model)),
}


def wrapped_trainer(name: str) -> PolarTrainer:
    torch.manual_seed(0)
    return ResonanceTrainer(WRAPPERS[name](ResonanceNet(3, 5, 8, 1, 0, dropout=0.0)), 1e-2)


@pytest.mark.filterwarnings("ignore:Dynamo")
@pytest.mark.parametrize("name", [name for name in WRAPPERS if name != "none"])
def test_checkpoints_of_wrapped_models_load_into_plain_ones_and_back(name, processes, tmp_path):
    """Weights, optimiser and health: each step after the exchange is that of the run never stopped."""
    whole = wrapped_trainer("none")
    expected = [whole.train_step(X) for _ in range(6)]
    for turn, (first, second) in enumerate([(name, "none"), ("none", name), (name, "DDP of compile")]):
        writer, reader = wrapped_trainer(first), wrapped_trainer(second)
        for _ in range(3):
            writer.train_step(X)
        writer.save(tmp_path / str(turn))
        assert read_checkpoint(tmp_path / str(turn)).weights.keys() == whole.model.state_dict().keys()
        assert reader.resume(tmp_path / str(turn))
        for loss, metrics in expected[3:]:
            found = reader.train_step(X)
            assert found[0] == pytest.approx(loss, rel=1e-5) and found[1] == pytest.approx(metrics, rel=1e-3)


@pytest.mark.parametrize("name", WRAPPERS)
def test_state_dicts_of_wrapped_models_are_set_by_their_plain_names(name, processes):
    """Also those that were saved by other means, under the names of the wrapper."""
    torch.manual_seed(1)
    source, model = ResonanceNet(3, 5, 8, 1, 0), wrapped_trainer(name).model
    set_weights(model, {f"module._orig_mod.{key}": value for key, value in source.state_dict().items()})
    again = ResonanceNet(3, 5, 8, 1, 0)
    set_weights(again, model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), again.parameters(), strict=True))


def test_a_model_with_an_attribute_called_module_keeps_its_names(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.weight = nn.Linear(2, 2, bias=False), nn.Parameter(torch.randn(2, 2))

    model, other = Own(), Own()
    save_weights(model, tmp_path / "own.safetensors")
    found = read_weights(tmp_path / "own.safetensors")
    assert found.keys() == {"module.weight", "weight"}
    set_weights(other, found)
    assert torch.equal(other.module.weight, model.module.weight) and torch.equal(other.weight, model.weight)
    with pytest.raises(ValueError, match="of another model"):
        set_weights(nn.Linear(2, 2, bias=False), found)  # two tensors of one plain name: neither is chosen
