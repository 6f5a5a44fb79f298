"""PolarTrainer: roles and rates, batches, losses, clipping, schedules, skipped steps, choosing on validation."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from resonance import LongContextResonanceNet, PolarTrainer, ResonanceNet, ResonanceTrainer
from resonance.polar import parameter_roles
from resonance.training.trainer import moved


def small_net(**options):
    torch.manual_seed(0)
    return ResonanceNet(3, 5, 16, 1, holographic_capacity=0, dropout=0.0, **options)


def test_printed_api_and_rates():
    trainer = PolarTrainer(
        model=small_net(),
        learning_rate_magnitude=1e-4,
        learning_rate_phase=5e-5,
        gradient_clip=1.0,
        monitor_stability=True,
    )
    rates = {group["role"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {"magnitude": 1e-4, "phase": 5e-5, "interference": 1e-4, "rest": 1e-4}
    loss, metrics = trainer.train_step((torch.randn(2, 16, 3), torch.randn(2, 16, 3)))
    assert loss == metrics["loss"] > 0
    norms = [metrics[f"grad_norm/{role}"] for role in rates]
    assert metrics["grad_norm"] == pytest.approx(sum(n**2 for n in norms) ** 0.5)


def test_default_loss_follows_the_target():
    x = torch.randn(2, 16, 3)
    trainer = PolarTrainer(small_net(output_dim=4))
    prediction = trainer.model.train()(x).detach()
    floats, classes = torch.randn(2, 16, 4), torch.randint(0, 4, (2, 16))
    assert trainer.train_step((x, floats))[0] == pytest.approx(nn.functional.mse_loss(prediction, floats).item())
    prediction = trainer.model(x).detach()
    expected = nn.functional.cross_entropy(prediction.flatten(0, 1), classes.flatten()).item()
    assert trainer.train_step((x, classes))[0] == pytest.approx(expected)


def test_it_learns():
    trainer = PolarTrainer(small_net(), 1e-2, 1e-2)
    x = torch.randn(8, 16, 3)
    batch = (x, x.roll(1, dims=1))
    losses = [trainer.train_step(batch)[0] for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_clipping_bounds_the_step():
    model = small_net()
    trainer = PolarTrainer(model, 1.0, 1.0, gradient_clip=1e-3, optimizer=torch.optim.SGD)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    _, metrics = trainer.train_step((torch.randn(2, 16, 3), 100 * torch.randn(2, 16, 3)))
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert metrics["clipped"] == 1.0 and metrics["grad_norm"] > 1e-3
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_fit_keeps_what_validation_prefers():
    model = small_net()
    trainer = PolarTrainer(model, 1e-2, 1e-2)
    figures = iter([3.0, 1.0, 2.0])
    kept = {}

    def validate(candidate):
        figure = next(figures)
        kept[figure] = copy.deepcopy(candidate.state_dict())
        return figure

    x = torch.randn(2, 16, 3)
    history = trainer.fit(lambda epoch: [(x, x)], 2, validate)
    assert history.best_epoch == 1 and history.validation == [3.0, 1.0, 2.0]
    assert all(torch.equal(kept[1.0][name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{"learning_rate_phase": 0.0}, {"gradient_clip": -1.0}, {"learning_rate": -1e-3}])
def test_bad_rates_are_refused(options):
    with pytest.raises(ValueError, match="positive"):
        PolarTrainer(small_net(), **options)


def test_a_target_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="prediction's shape"):
        PolarTrainer(small_net()).train_step((torch.randn(2, 16, 3), torch.randn(2, 16, 1)))


# --------------------------------------------------------------------------- roles, optimisers, schedules

OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "Adamax", "ASGD", "Rprop")


def test_each_role_moves_by_its_own_rate():
    """The first step of Adam moves every entry by its rate, whatever the gradient."""
    model = small_net()
    before = copy.deepcopy(model)
    x = torch.randn(4, 16, 3)
    trainer = PolarTrainer(model, 1e-2, 2e-3, learning_rate=5e-4)
    trainer.train_step((x, x.roll(1, dims=1)))
    rates = {"magnitude": 1e-2, "phase": 2e-3, "interference": 5e-4, "rest": 5e-4}
    for (role, _, now), (_, _, then) in zip(parameter_roles(model), parameter_roles(before), strict=True):
        assert (now - then).abs().median().item() == pytest.approx(rates[role], rel=1e-2)


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Adafactor"])
def test_any_optimizer_takes_a_step_and_resumes(name, tmp_path):
    x = torch.randn(4, 16, 3)
    batch = (x, x.roll(1, dims=1))
    trainers = [PolarTrainer(small_net(), 1e-2, 1e-2, optimizer=getattr(torch.optim, name)) for _ in range(2)]
    first = [trainers[0].train_step(batch)[0] for _ in range(3)]
    assert len(set(first)) == 3
    trainers[0].save(tmp_path)
    assert trainers[1].resume(tmp_path)
    following = [[trainer.train_step(batch)[0] for _ in range(3)] for trainer in trainers]
    assert following[0] == following[1]


def test_weight_decay_leaves_phases_alone():
    """With a gradient of zero only decay moves anything: all but the phases."""
    model = small_net()
    before = copy.deepcopy(model)
    adamw = functools.partial(torch.optim.AdamW, weight_decay=0.5)
    PolarTrainer(model, 0.1, 0.1, optimizer=adamw, loss_fn=lambda y, _: 0.0 * y.sum()).train_step(torch.ones(1, 8, 3))
    for (role, name, now), (_, _, then) in zip(parameter_roles(model), parameter_roles(before), strict=True):
        torch.testing.assert_close(now, then if role == "phase" else 0.95 * then, msg=name)


SCHEDULES = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step)),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
    "chained": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        [2],
    ),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [0.1, 0.05, 0.1, 0.1], total_steps=20),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_step_once_a_step_and_resume(name, tmp_path):
    def rates(trainer, steps):
        found = []
        for _ in range(steps):
            x = torch.ones(1, 8, 3)
            metrics = trainer.train_step((x, 0.5 * x))[1]
            found.append([metrics[f"learning_rate/{role}"] for role in ("magnitude", "phase", "interference", "rest")])
        return found

    oracle = torch.optim.Adam([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.05, 0.1, 0.1)])
    schedule, expected = SCHEDULES[name](oracle), []
    for _ in range(8):
        oracle.step()
        schedule.step()
        expected.append([group["lr"] for group in oracle.param_groups])
    trainer = PolarTrainer(small_net(), 0.1, 0.05, schedule=SCHEDULES[name])
    assert rates(trainer, 5) == expected[:5]
    trainer.save(tmp_path)
    trainer = PolarTrainer(small_net(), 0.1, 0.05, schedule=SCHEDULES[name])
    trainer.resume(tmp_path)
    assert rates(trainer, 3) == expected[5:]


def test_a_plateau_schedule_follows_validation():
    trainer = PolarTrainer(
        small_net(),
        0.1,
        0.1,
        schedule=lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0),
    )
    x = torch.randn(1, 8, 3)
    trainer.fit(lambda epoch: [x] * 3, 2, lambda model: 1.0)  # the start, then twice no better
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-3] * 4)
    with pytest.raises(ValueError, match="need a validation figure"):
        trainer.fit(lambda epoch: [x], 1)


# --------------------------------------------------------------------------- batches and losses


def test_tensors_tuples_and_dicts_say_the_same():
    x, lengths = torch.randn(3, 16, 3), torch.tensor([16, 9, 4])
    plain = [x, (x, x), [x, x], {"x": x, "target": x}]
    padded = [(x, lengths, x), {"x": x, "lengths": lengths, "target": x}]
    losses = [PolarTrainer(small_net(), loss_fn=F.l1_loss).train_step(batch)[0] for batch in (*plain, *padded)]
    assert len(set(losses[:4])) == 1 and len(set(losses[4:])) == 1 and losses[0] != losses[4]
    with torch.no_grad():
        assert losses[4] == pytest.approx(F.l1_loss(small_net()(x, lengths), x).item())


def test_the_default_loss_leaves_padding_out():
    """The padding of input and target, even NaN, changes neither loss nor step."""
    x, target, lengths = torch.randn(3, 16, 3), torch.randn(3, 16, 3), torch.tensor([16, 9, 4])
    spoilt, nothing = x.clone(), target.clone()
    for row, length in enumerate(lengths):
        spoilt[row, length:], nothing[row, length:] = float("nan"), float("nan")
    results = []
    for inputs, goal in ((x, target), (spoilt, nothing)):
        model = small_net()
        loss, metrics = PolarTrainer(model, 0.1, 0.1).train_step({"x": inputs, "lengths": lengths, "target": goal})
        results.append((loss, metrics["grad_norm"], model.output_projection.weight.sum().item()))
    assert results[0] == results[1]
    with torch.no_grad():
        errors = (small_net()(x, lengths) - target).square()
    kept = torch.cat([errors[row, :length] for row, length in enumerate(lengths)])
    assert results[0][0] == pytest.approx(kept.mean().item(), rel=1e-5)


def test_a_target_may_be_a_structure_of_its_own():
    x, mask = torch.randn(2, 16, 3), torch.rand(2, 16, 1)
    trainer = PolarTrainer(small_net(), loss_fn=lambda y, target: (target[1] * (y - target[0]).square()).mean())
    with torch.no_grad():
        expected = (mask * (trainer.model(x) - x).square()).mean().item()
    assert trainer.train_step({"x": x, "target": (x, mask)})[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("batch", "error", "says"),
    [
        ("text", TypeError, "got str"),
        ((torch.ones(1, 8, 3),), ValueError, "got 1 entries"),
        ({"x": torch.ones(1, 8, 3)}, ValueError, r'"target".*\[\'x\'\]'),
        ({"target": torch.ones(1, 8, 3)}, ValueError, "the model's inputs"),
    ],
)
def test_bad_batches_are_refused(batch, error, says):
    with pytest.raises(error, match=says):
        PolarTrainer(small_net()).train_step(batch)


def test_a_loss_of_many_entries_is_refused():
    trainer = PolarTrainer(small_net(), loss_fn=lambda y, target: (y - target).square())
    with pytest.raises(ValueError, match=r"shape \(\), got \(1, 8, 3\)"):
        trainer.train_step(torch.ones(1, 8, 3))


def test_batches_move_to_the_device():
    x = torch.ones(2)
    there = moved(({"a": [x, "name"]}, (x, None), 3), torch.device("meta"))
    assert there[0]["a"][0].device.type == there[1][0].device.type == "meta"
    assert (there[0]["a"][1], there[1][1], there[2]) == ("name", None, 3)


# --------------------------------------------------------------------------- autocast, compilation, other models


def test_bfloat16_autocast_trains_with_float32_parameters():
    x = torch.randn(8, 16, 3)
    batch, losses = (x, x.roll(1, dims=1)), {}
    for bfloat16 in (False, True):
        model, seen = small_net(), []
        model.output_projection.register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(output.dtype)
        )
        trainer = PolarTrainer(model, 1e-2, 1e-2, bfloat16=bfloat16)
        losses[bfloat16] = [trainer.train_step(batch)[0] for _ in range(60)]
        assert set(seen) == {torch.bfloat16 if bfloat16 else torch.float32}
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses[True][0] == pytest.approx(losses[False][0], rel=2e-2) and losses[True][0] != losses[False][0]
    assert losses[True][-1] < 0.5 * losses[True][0]


@pytest.mark.filterwarnings("ignore:Dynamo")
def test_a_compiled_model_trains_and_exchanges_checkpoints_with_a_plain_one(tmp_path):
    x = torch.randn(4, 16, 3)
    batch = {"x": x, "lengths": torch.tensor([16, 12, 7, 16]), "target": x.roll(1, dims=1)}
    compiled = PolarTrainer(torch.compile(small_net(), backend="eager"), 1e-2, 1e-2)
    eager = PolarTrainer(small_net(), 1e-2, 1e-2)
    for _ in range(3):
        assert compiled.train_step(batch)[0] == pytest.approx(eager.train_step(batch)[0], rel=1e-5)
    compiled.save(tmp_path)
    assert eager.resume(tmp_path)
    assert compiled.train_step(batch)[0] == pytest.approx(eager.train_step(batch)[0], rel=1e-5)
    compiled.fit(lambda epoch: [batch], 2, lambda model: -float(compiled.steps))  # chooses, and puts back, the weights


def test_long_context_models_train():
    torch.manual_seed(0)
    model = LongContextResonanceNet(2, 64, 16, 2, hidden_dim=8, num_frequencies=8, local_frequencies=4)
    x = torch.randn(2, 64, 2)
    trainer = PolarTrainer(model, 1e-2, 1e-2)
    losses = [trainer.train_step((x, x.roll(1, dims=1)))[0] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


# --------------------------------------------------------------------------- skipped steps


class Normed(nn.Module):
    """A model with running statistics, which a NaN in its input would spoil."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(self.norm(x.transpose(1, 2)).transpose(1, 2))


def bad_gradient(y, target):
    """A finite loss with an infinite gradient."""
    return (y * 0.0).abs().sqrt().sum()


@pytest.mark.parametrize("make", [small_net, Normed])
@pytest.mark.parametrize("case", ["nan input", "infinite target", "gradient"])
def test_a_step_that_is_not_finite_leaves_everything_alone(make, case):
    model, x = make(), torch.randn(2, 16, 3)
    trainer = PolarTrainer(model, 0.1, 0.1, schedule=SCHEDULES["step"])
    trainer.train_step((x, x.roll(1, dims=1)))
    then = copy.deepcopy((trainer.optimizer.state_dict(), trainer.schedule.state_dict(), model.state_dict()))
    spoilt, target = x.clone(), x.clone()
    if case == "nan input":
        spoilt[0, 0, 0] = float("nan")
    elif case == "infinite target":
        target[0, 0, 0] = float("inf")
    else:
        trainer.loss_fn = bad_gradient
    _, metrics = trainer.train_step((spoilt, target))
    now = (trainer.optimizer.state_dict(), trainer.schedule.state_dict(), model.state_dict())
    assert metrics["skipped"] == 1.0 and metrics["skipped_steps"] == 1.0
    assert repr(now[:2]) == repr(then[:2])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, then[2][name]) and parameter.grad is None
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    trainer.loss_fn = None
    assert trainer.train_step((x, x))[1]["skipped"] == 0.0 and trainer.skipped == 1


def test_ten_skipped_steps_in_a_row_end_the_run_naming_the_batch():
    good = torch.randn(2, 16, 3)
    bad = torch.full_like(good, float("inf"))
    trainer = PolarTrainer(small_net())
    nine = [bad] * 9 + [good]
    history = trainer.fit(lambda epoch: nine, 2)  # nine in a row, twice: goes on
    assert trainer.skipped == 18 and len(history.train) == 2
    assert history.train[0] == pytest.approx(trainer.train_step(good)[0], rel=0.1)  # the mean of the steps taken
    with pytest.raises(FloatingPointError, match=r"10 steps in a row.*epoch 2, batch 4 \(from 0\).*loss is nan"):
        trainer.fit(lambda epoch: [good] * 4 + [bad] * 5 if epoch == 1 else [bad] * 10, 2)


def test_skipped_steps_across_epochs_count_as_a_row():
    bad = torch.full((2, 16, 3), float("nan"))
    with pytest.raises(FloatingPointError, match=r"epoch 4, batch 0"):
        PolarTrainer(small_net()).fit(lambda epoch: [bad] * 3, 5)


# --------------------------------------------------------------------------- fit


def test_fit_stops_early_and_keeps_the_best_weights():
    figures, calls = [3.0, 2.0, 2.5, 2.0, 2.4, 1.0], itertools.count()
    model, kept = small_net(), []
    x = torch.randn(2, 16, 3)

    def validate(candidate):
        kept.append(copy.deepcopy(candidate.state_dict()))
        assert not candidate.training and not torch.is_grad_enabled()
        return figures[next(calls)]

    history = PolarTrainer(model, 1e-2, 1e-2).fit(lambda epoch: [(x, -x)], 5, validate, patience=3)
    assert history.validation == figures[:5] and history.best_epoch == 1 and len(history.train) == 4
    assert all(torch.equal(kept[1][name], value) for name, value in model.state_dict().items())


def test_a_finished_run_resumes_to_its_result_and_can_be_made_longer(tmp_path):
    x = torch.randn(2, 16, 3)

    def run(epochs, folder):
        trainer = PolarTrainer(small_net(), 1e-2, 1e-2)
        history = trainer.fit(
            lambda epoch: [(x, -x)] * 3, epochs, lambda model: model(x).sum().item(), checkpoint=folder
        )
        return trainer.steps, history, [value.tolist() for value in trainer.model.state_dict().values()]

    whole = run(4, tmp_path / "whole")
    for epochs in (2, 2, 4, 4):
        parts = run(epochs, tmp_path / "parts")
    assert parts == whole and whole[0] == 12


def test_each_epoch_is_logged(caplog, capfd):
    x = torch.randn(2, 16, 3)
    with caplog.at_level("INFO", logger="resonance.training.trainer"):
        PolarTrainer(small_net()).fit(lambda epoch: [x] * 3, 2)
        PolarTrainer(small_net()).fit(lambda epoch: [x] * 3, 1, lambda model: 0.25)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["epoch 1/2", "epoch 2/2", "epoch 1/1"]
    assert "validation" not in caplog.messages[0] and "validation 0.25" in caplog.messages[2]
    assert capfd.readouterr() == ("", "")  # a library prints nothing of itself


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patience": 2}, "expected `validate`"),
        ({"patience": 0}, "patience >= 1, got 0"),
        ({"checkpoint_every": 5}, "expected `checkpoint`"),
        ({"checkpoint_every": -1, "checkpoint": "nowhere"}, "checkpoint_every >= 1, got -1"),
    ],
)
def test_options_without_what_they_work_on_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        PolarTrainer(small_net()).fit(lambda epoch: [], 1, **options)


def test_an_epoch_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="epoch 1 has no batch"):
        PolarTrainer(small_net()).fit(lambda epoch: [], 1)


@pytest.mark.parametrize("own_generator", [True, False], ids=["own generator", "global source"])
def test_a_shuffling_data_loader_goes_on_within_an_epoch(tmp_path, own_generator):
    data = torch.utils.data.TensorDataset(torch.randn(12, 16, 3, generator=torch.Generator().manual_seed(1)))

    def run(folder, stop=None):
        torch.manual_seed(0)
        model, generator = small_net(), torch.Generator().manual_seed(2) if own_generator else None
        stack = lambda rows: torch.stack([row[0] for row in rows])  # noqa: E731
        loader = torch.utils.data.DataLoader(data, 2, shuffle=True, generator=generator, collate_fn=stack)
        trainer, losses = PolarTrainer(model, 1e-2, 1e-2), []

        def loss_fn(y, target):
            if trainer.steps == stop:
                raise KeyboardInterrupt
            losses.append(F.mse_loss(y, target))
            return losses[-1]

        trainer.loss_fn = loss_fn
        own = [generator] if own_generator else []
        try:
            trainer.fit(lambda epoch: loader, 3, checkpoint=folder, checkpoint_every=3, generators=own)
        except KeyboardInterrupt:
            assert trainer.steps == stop
        return [loss.item() for loss in losses]

    whole = run(tmp_path / "whole")
    assert len(set(whole)) == 18
    assert run(tmp_path / "parts", stop=11)[:11] == whole[:11]
    assert run(tmp_path / "parts") == whole[9:]


# --------------------------------------------------------------------------- loaders


def loader(seed: int | None = 1, **options) -> DataLoader:
    x = torch.randn(12, 16, 3, generator=torch.Generator().manual_seed(0))
    order = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(x, x.roll(1, dims=1)), 4, generator=order, **options)


def losses_of(batches, *, stop: int | None = None, epochs: int = 2, **options):
    """The loss of each step of a run, which `stop` ends after so many steps."""
    losses = []

    class Recorded(PolarTrainer):
        def train_step(self, batch):
            if len(losses) == stop:
                raise KeyboardInterrupt
            losses.append(super().train_step(batch)[0])
            return losses[-1], {"skipped": 0.0}

    trainer = Recorded(small_net(), 1e-2, 1e-2)
    with contextlib.suppress(KeyboardInterrupt):
        trainer.fit(batches, epochs, **options)
    return losses


def test_fit_takes_a_loader_a_list_or_a_function_of_the_epoch():
    found = [losses_of(batches) for batches in (loader(), list(loader()), lambda epoch: loader())]
    assert found[0] == found[1] == found[2] and len(found[0]) == 6


@pytest.mark.parametrize("seed", [1, None], ids=["a generator of its own", "the global one"])
@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_shuffling_loader_resumes_bitwise(tmp_path, seed, stop):
    """No `generators` given: the loader's own is kept with the checkpoint."""
    whole = losses_of(loader(seed, shuffle=True), epochs=3)
    assert len(set(whole)) == 9
    options = {"checkpoint": tmp_path, "checkpoint_every": 1, "epochs": 3}
    parts = losses_of(loader(seed, shuffle=True), stop=stop, **options)
    assert parts + losses_of(loader(seed, shuffle=True), **options) == whole


def test_a_distributed_sampler_is_told_the_epoch():
    data = loader().dataset
    sampler = DistributedSampler(data, num_replicas=2, rank=1, seed=3)
    found, expected = losses_of(DataLoader(data, 3, sampler=sampler)), []
    rows = {}
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        rows[epoch] = list(sampler)
    assert rows[1] != rows[2]
    expected = losses_of(lambda epoch: [data[part] for part in (rows[epoch][:3], rows[epoch][3:])])
    assert found == expected


def test_batches_that_cannot_be_read_again_are_refused():
    x = torch.randn(2, 16, 3)
    for batches, kind in (((x for _ in range(2)), "generator"), (zip([x], [x], strict=True), "zip")):
        with pytest.raises(TypeError, match=f"a list or a DataLoader, to be read anew in every epoch, got one {kind}"):
            PolarTrainer(small_net()).fit(batches, 2)
    for batch, kind in ((x, "Tensor"), ((x, x), "tuple"), ({"x": x, "target": x}, "dict"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"expected batches as a function of the epoch.*got one {kind}"):
            PolarTrainer(small_net()).fit(batch, 1)


def test_a_skipped_step_is_logged_with_its_place(caplog):
    good, bad = torch.randn(2, 16, 3), torch.full((2, 16, 3), float("nan"))
    PolarTrainer(small_net()).fit([good, bad], 1)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "weights and optimiser stay as they are at step 2, epoch 1, batch 1 (from 0): "
        "the loss is nan, the gradient's norm nan"
    ]


class Positive(nn.Module):
    """A parametrisation of a magnitude that keeps it positive."""

    def forward(self, x):
        return F.softplus(x)

    def right_inverse(self, y):
        return y.expm1().log()


@pytest.mark.parametrize("kind", [PolarTrainer, ResonanceTrainer])
@pytest.mark.parametrize(
    "change",
    [
        lambda weight: prune.l1_unstructured(weight, "magnitude", amount=0.5),
        lambda weight: prune.l1_unstructured(weight, "phase", amount=0.5),
        lambda weight: parametrize.register_parametrization(weight, "magnitude", Positive()),
    ],
    ids=["pruned magnitude", "pruned phase", "parametrised magnitude"],
)
def test_pruned_and_parametrised_weights_train_by_their_roles_and_resume(kind, change, tmp_path):
    def trainer():
        model = small_net()
        change(model.layers[0].mixing.weight)
        return kind(model, 1e-2, 1e-2)

    x = torch.randn(4, 16, 3)
    batch, first, second = (x, x.roll(1, dims=1)), trainer(), trainer()
    polar = [group["params"] for group in first.optimizer.param_groups if group["role"] in ("magnitude", "phase")]
    before = copy.deepcopy(polar)
    losses = [first.train_step(batch)[0] for _ in range(5)]
    moves = [
        (a - b).abs().max() for now, then in zip(polar, before, strict=True) for a, b in zip(now, then, strict=True)
    ]
    assert losses[-1] < losses[0] and len(moves) == 2 and min(moves) > 1e-3
    first.save(tmp_path)
    second.resume(tmp_path)
    assert first.train_step(batch)[0] == second.train_step(batch)[0]
