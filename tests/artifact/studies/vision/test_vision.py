"""Mixing in the plane, the vision model, moved and marred images, and the protocol of their measurement."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.datasets.images import Images, load_digits
from artifact.peers.vision import PatchFNet, VisionTransformer, fit_logistic, logistic_scores, plane_positions
from artifact.studies.common.classification import accuracy, predict
from artifact.studies.vision.augmentation import affine, augmented_batches, jitter, noisy, occluded, resized
from artifact.studies.vision.protocol import (
    BARE,
    CONTENDERS,
    RESONANCE,
    asked,
    errors,
    image_task,
    learned_gains,
    learned_kernels,
    model_sizes,
    robustness,
    size_freedom,
    structure,
    trained,
    validation_accuracy,
)
from resonance import BandMixing, PlaneMixing, ResonanceTrainer, ResonanceVisionNet
from resonance.plane import PlaneBand, plane_analysis, plane_frequencies, plane_synthesis
from resonance.polar import count_parameters
from resonance.vision import whole_patches

ENGINES = ("auto", "dense", "fft", "fast")
SIZES = st.integers(1, 12)
FREQUENCIES = st.integers(1, 6)


def complex_band(packed):
    return torch.complex(*packed.chunk(2, dim=1))


def fft2_band(x, ky, kx):
    """The kept half plane by torch's own two-dimensional FFT; zero where the plane does not hold a frequency."""
    rows, columns = x.shape[1:3]
    full = torch.fft.fft2(x, dim=(1, 2), norm="ortho")
    band = [
        full[:, fy % rows, fx % columns] if 2 * abs(fy) < rows and 2 * fx < columns else torch.zeros_like(full[:, 0, 0])
        for fy, fx in plane_frequencies(ky, kx).tolist()
    ]
    return torch.stack(band, dim=1)


def ifft2_plane(band, rows, columns, ky, kx):
    """The real plane of a half plane, its conjugates set by hand, by torch's own inverse FFT."""
    full = band.new_zeros(band.shape[0], rows, columns, band.shape[2])
    for value, (fy, fx) in zip(band.unbind(1), plane_frequencies(ky, kx).tolist(), strict=True):
        if 2 * abs(fy) < rows and 2 * fx < columns:
            full[:, fy % rows, fx % columns] += value if fy or fx else value.real
            if fy or fx:
                full[:, -fy % rows, -fx % columns] += value.conj()
    plane = torch.fft.ifft2(full, dim=(1, 2), norm="ortho")
    assert plane.imag.abs().max() < 1e-12
    return plane.real


# --------------------------------------------------------------------------- the transform


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, FREQUENCIES, FREQUENCIES, st.sampled_from(ENGINES), st.integers(0, 2**16))
def test_analysis_and_synthesis_are_the_two_dimensional_dft_on_the_band(rows, columns, ky, kx, engine, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, columns, 3, generator=generator, dtype=torch.float64)
    band = complex_band(plane_analysis(x, (ky, kx), engine))
    torch.testing.assert_close(band, fft2_band(x, ky, kx), rtol=0, atol=1e-12)
    packed = torch.randn(2, 2 * len(plane_frequencies(ky, kx)), 3, generator=generator, dtype=torch.float64)
    expected = ifft2_plane(complex_band(packed), rows, columns, ky, kx)
    plane = plane_synthesis(packed, rows, columns, (ky, kx), engine)
    torch.testing.assert_close(plane, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_is_as_close_as_float32_is(engine):
    x = torch.randn(2, 14, 14, 3)
    exact = plane_analysis(x.double(), 7, "fft")
    assert (plane_analysis(x, 7, engine) - exact).norm() < 1e-6 * exact.norm()


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, FREQUENCIES, FREQUENCIES)
def test_every_frequency_of_the_half_plane_is_kept_once(rows, columns, ky, kx):
    chosen = plane_frequencies(ky, kx).tolist()
    assert len(chosen) == PlaneBand(rows, columns, ky, kx).k == ky * kx + (ky - 1) * (kx - 1)
    both = {tuple(f) for f in chosen} | {(-fy, -fx) for fy, fx in chosen}
    assert len(both) == (2 * ky - 1) * (2 * kx - 1) == 2 * len(chosen) - 1


def test_a_whole_odd_plane_comes_back():
    x = torch.randn(2, 7, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(plane_synthesis(plane_analysis(x, (4, 5)), 7, 9, (4, 5)), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_synthesis_is_the_adjoint_under_the_counted_product(engine):
    x, y = torch.randn(1, 8, 5, 1, dtype=torch.float64), torch.randn(1, 26, 1, dtype=torch.float64)
    c = torch.full((1, 26, 1), 2.0, dtype=torch.float64)
    c[:, 0] = c[:, 13] = 1.0
    y[:, 13] = 0.0  # the imaginary part at DC
    left = (c * plane_analysis(x, (3, 3), engine) * y).sum()
    torch.testing.assert_close(left, (x * plane_synthesis(y, 8, 5, (3, 3), engine)).sum())


def test_a_band_that_the_plane_cannot_hold_is_left_out():
    x = torch.randn(1, 3, 4, 2)
    large, small = complex_band(plane_analysis(x, 5)), complex_band(plane_analysis(x, 2))
    places = [plane_frequencies(5, 5).tolist().index(f) for f in plane_frequencies(2, 2).tolist()]
    torch.testing.assert_close(large[:, places], small)
    rest = [i for i in range(large.shape[1]) if i not in places]
    assert large[:, rest].abs().max() == 0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: plane_analysis(torch.randn(3, 4, 5), 2), ValueError, r"\(batch, rows, columns, d\)"),
        (lambda: plane_analysis(torch.ones(1, 4, 5, 1, dtype=torch.int64), 2), TypeError, "floating"),
        (lambda: plane_analysis(np.ones((1, 4, 5, 1)), 2), TypeError, "torch tensor"),
        (lambda: plane_analysis(torch.randn(0, 4, 4, 1), 2), ValueError, "non-empty"),
        (lambda: plane_analysis(torch.randn(1, 4, 5, 1), 0), ValueError, "0 x 0 frequencies"),
        (lambda: plane_analysis(torch.randn(1, 4, 5, 1), 2, "quick"), ValueError, "unknown engine"),
        (lambda: plane_synthesis(torch.randn(1, 9, 1), 4, 4, 2), ValueError, "2K=10"),
        (lambda: PlaneMixing(3, 2)(torch.randn(1, 4, 4, 2)), ValueError, "columns, 3"),
        (lambda: PlaneMixing(0, 2), ValueError, "dim >= 1"),
        (lambda: ResonanceVisionNet(0), ValueError, "at least 1 class"),
        (lambda: ResonanceVisionNet(2)(torch.randn(1, 1, 32, 32)), ValueError, "3, height, width"),
        (lambda: ResonanceVisionNet(2)(torch.randn(3)), ValueError, "channels, height, width"),
        (lambda: affine(torch.ones(3, 3)), ValueError, "channels, height, width"),
        (lambda: affine(torch.ones(1, 1, 3, 3), scale=0.0), ValueError, "positive scale"),
        (lambda: occluded(torch.ones(1, 1, 3, 4), 4, torch.Generator()), ValueError, r"0\.\.3"),
    ],
)
def test_bad_input_is_a_clear_error(call, error, match):
    with pytest.raises(error, match=match):
        call()


# --------------------------------------------------------------------------- mixing


def test_without_interference_it_is_a_circular_convolution():
    mixing = PlaneMixing(2, (3, 4), interference=False).double()
    x = torch.randn(1, 7, 9, 2, dtype=torch.float64)
    w = torch.complex(*mixing.weight.pair())
    with torch.no_grad():
        delta = torch.zeros(1, 7, 9, 2, dtype=torch.float64)
        delta[:, 0, 0] = 1.0
        kernel, out = mixing(delta), mixing(x)
        torch.testing.assert_close(mixing(x.roll((2, 5), (1, 2))), out.roll((2, 5), (1, 2)))
        product = torch.fft.rfft2(kernel, dim=(1, 2)) * torch.fft.rfft2(x, dim=(1, 2))
        torch.testing.assert_close(torch.fft.irfft2(product, (7, 9), dim=(1, 2)), out)
        index = plane_frequencies(3, 4).tolist().index([-2, 3])
        torch.testing.assert_close(torch.fft.fft2(kernel, dim=(1, 2))[0, -2, 3], w[index])


def test_one_row_is_the_layer_in_one_dimension():
    plane, line = PlaneMixing(3, (1, 4)), BandMixing(3, 4)
    line.load_state_dict(plane.state_dict())
    x = torch.randn(2, 1, 8, 3)
    torch.testing.assert_close(plane(x)[:, 0], line(x[:, 0]))
    turned = PlaneMixing(3, (4, 1))
    turned.load_state_dict(plane.state_dict())
    torch.testing.assert_close(turned(x.transpose(1, 2))[:, :, 0], line(x[:, 0]))


def test_the_same_weights_are_the_same_map_at_any_size():
    """Samples of one band-limited image on two grids go to samples of one image, with interference as without."""
    for interference in (True, False):
        mixing = PlaneMixing(2, 3, interference=interference).double()
        band = torch.randn(1, 2 * 13, 2, dtype=torch.float64)
        images = {n: plane_synthesis(n * band, n, n, 3) for n in (5, 6, 15, 30)}
        with torch.no_grad():
            fine = mixing(images[30])
            for n in (5, 6, 15):
                torch.testing.assert_close(mixing(images[n]), fine[:, :: 30 // n, :: 30 // n])


def test_gradients_are_right():
    mixing = PlaneMixing(2, 2).double()
    x = torch.randn(1, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    for engine in ("dense", "fft"):
        mixing.engine = engine
        parameters = dict(mixing.named_parameters())
        assert torch.autograd.gradcheck(
            lambda x, *p: torch.func.functional_call(mixing, dict(zip(parameters, p, strict=True)), x),  # noqa: B023
            (x, *(p.detach().requires_grad_() for p in parameters.values())),
        )


def test_autocast_computes_in_bfloat16_and_stays_close():
    torch.manual_seed(0)
    mixing, x = PlaneMixing(4, 3), torch.randn(2, 8, 8, 4)
    for engine in ("dense", "fast"):
        mixing.engine = engine
        with torch.autocast("cpu", torch.bfloat16):
            low = mixing(x)
        exact = mixing(x)
        assert low.dtype == torch.bfloat16
        assert (low.float() - exact).norm() < 0.02 * exact.norm()


def test_parameters_are_the_printed_formula():
    assert count_parameters(PlaneMixing(8, (3, 2))) == 2 * 8 * 8 + 2 * 8**2
    model = ResonanceVisionNet(10, in_channels=1, patch_size=4, hidden_dim=16, num_layers=2, num_frequencies=3)
    block = 2 * 13 * 16 + 2 * 13**2 + 4 * 16**2 + 3 * 16 + 4 * 16
    assert count_parameters(model) == 2 * block + 16 * (16 + 3) + 10 * (16 * 9 + 1)


# --------------------------------------------------------------------------- the model


def test_the_printed_constructor_classifies_and_trains_at_the_printed_size():
    torch.manual_seed(0)
    model = ResonanceVisionNet(num_classes=1000)
    images, labels = torch.randn(2, 3, 224, 224), torch.tensor([3, 999])
    assert model(images).shape == (2, 1000)
    assert model.tokens(images).shape == (2, 14, 14, model.hidden_dim)
    trainer = ResonanceTrainer(model, loss_fn=torch.nn.functional.cross_entropy)
    losses = [trainer.train_step((images, labels))[0] for _ in range(3)]
    assert losses[2] < losses[0] and math.isfinite(losses[2])


@pytest.mark.parametrize("size", [(16, 16), (20, 300), (96, 64), (225, 224)])
def test_any_size_is_classified(size):
    model = ResonanceVisionNet(5, hidden_dim=16, num_layers=2).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, *size)).isfinite().all()


def test_no_convolution_no_attention_no_product_of_tokens():
    model = ResonanceVisionNet(4, hidden_dim=8, num_layers=2, dropout=0.0)
    x = torch.randn(1, 3, 64, 64)
    assert structure(model, x) == {"convolutions": 0, "token products": 0}
    assert structure(VisionTransformer(4, num_layers=1), torch.randn(1, 1, 8, 8))["token products"] > 0
    assert structure(torch.nn.Conv2d(3, 4, 3), x)["convolutions"] == 1


def test_the_read_out_is_the_mean_and_where_things_stand():
    model = ResonanceVisionNet(3, hidden_dim=8, num_layers=1)
    tokens = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(model.pooled(tokens)[:, :8], tokens.mean((1, 2)))
    moved = model.pooled(tokens.roll(2, 1))
    torch.testing.assert_close(moved[:, :8], model.pooled(tokens)[:, :8])
    assert (moved - model.pooled(tokens)).abs().max() > 0.01
    torch.testing.assert_close(
        model.pooled(torch.ones(1, 4, 4, 8)), model.pooled(torch.ones(1, 10, 7, 8)), atol=1e-6, rtol=0
    )
    assert moved.shape == (2, 9 * 8)


def test_whole_patches_keeps_the_image_in_the_middle():
    images = torch.randn(1, 1, 9, 8)
    padded = whole_patches(images, 4)
    assert padded.shape == (1, 1, 12, 8)
    torch.testing.assert_close(padded[:, :, 1:10], images)
    assert padded[:, :, 0].abs().max() == padded[:, :, 10:].abs().max() == 0
    assert whole_patches(images[:, :, :8], 4).shape == (1, 1, 8, 8)


def test_contenders_have_under_a_hundred_thousand_parameters():
    sizes = model_sizes(image_task(toy_images(side=28)))
    assert len(sizes) == len(CONTENDERS) and all(10_000 < size < 100_000 for size in sizes.values())
    assert sizes[BARE.name] < sizes[RESONANCE.name]


# --------------------------------------------------------------------------- images moved and marred


def test_affine_is_exact_where_it_can_be():
    x = torch.rand(2, 1, 7, 7)
    torch.testing.assert_close(affine(x), x)
    torch.testing.assert_close(affine(x, degrees=90.0), x.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(affine(x, degrees=torch.tensor([180.0, 0.0]))[0], x[0].flip(1, 2), atol=1e-5, rtol=0)
    oblong = torch.rand(1, 1, 5, 9)
    torch.testing.assert_close(affine(oblong, degrees=180.0), oblong.flip(2, 3), atol=1e-5, rtol=0)
    moved = affine(oblong, shift=torch.tensor([[2.0, -1.0]]))  # right, and up
    torch.testing.assert_close(moved[..., :4, 2:], oblong[..., 1:, :7], atol=1e-5, rtol=0)
    assert moved[..., :2].abs().max() < 1e-5 and moved[..., 4, :].abs().max() < 1e-5


def test_affine_turns_an_oblong_without_shearing_it():
    """A quarter turn of a square within an oblong image is that square turned."""
    square = torch.rand(1, 1, 5, 5)
    image = torch.nn.functional.pad(square, (4, 4))
    torch.testing.assert_close(affine(image, degrees=90.0)[..., 4:9], square.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_affine_scales_about_the_middle():
    x = torch.ones(1, 1, 20, 20)
    half = affine(x, scale=0.5)
    assert half.sum().item() == pytest.approx(100, rel=0.05) and half[0, 0, 10, 10] == 1 and half[0, 0, 2, 2] == 0


def test_draws_are_seeded_bounded_and_differ_between_images():
    x = torch.zeros(64, 1, 15, 15)
    x[:, :, 7, 7] = 1.0
    a, b = (jitter(x, torch.Generator().manual_seed(1), degrees=0.0, scale=0.0) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a[0], a[1])
    y, z = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    shift = torch.stack([(a[:, 0] * axis).sum((1, 2)) - 7 for axis in (y, z)])
    assert shift.abs().max() <= 2.001 and shift.min() < -1 and shift.max() > 1
    torch.testing.assert_close(jitter(x, torch.Generator(), shift=0.0, degrees=0.0, scale=0.0), x)


def test_noise_and_occlusion_are_what_they_say():
    generator = torch.Generator().manual_seed(0)
    assert noisy(torch.zeros(50, 1, 20, 20), 0.3, generator).std().item() == pytest.approx(0.3, rel=0.02)
    covered = occluded(torch.ones(200, 1, 9, 11), 4, generator)
    assert ((covered == 0).sum((1, 2, 3)) == 16).all()
    assert (covered == 0).any(0).all(), "every place is covered some time"
    assert torch.equal(occluded(torch.ones(2, 1, 5, 5), 0, generator), torch.ones(2, 1, 5, 5))


# --------------------------------------------------------------------------- the protocol


def toy_images(count=120, side=8, seed=0):
    generator = np.random.default_rng(seed)
    images, labels = generator.random((count, side, side), dtype=np.float32), np.arange(count) % 10
    return Images("toy", (images, labels), (images[:40], labels[:40]))


def test_the_last_training_images_are_for_choices():
    task = image_task(toy_images(), validation=15)
    assert len(task.train[0]) == 105 and len(task.validation[0]) == 15 and task.side == 8
    assert torch.equal(torch.cat([task.train[0], task.validation[0]]), task.all_train[0])
    assert len(image_task(toy_images(), validation=5000).validation[0]) == 20


def test_choosing_touches_no_test_image():
    images = toy_images()
    broken = Images("toy", images.train, (np.full_like(images.test[0], np.nan), images.test[1]))
    options = {"steps": 6, "seed": 0, "batch": 16}
    a, b = (validation_accuracy(1e-3, RESONANCE, image_task(data), **options) for data in (images, broken))
    assert a == b and math.isfinite(a)


def test_training_is_repeatable_and_learns_the_digits():
    task = image_task(load_digits(), validation=200)
    options = {"rate": 4e-3, "steps": 70, "seed": 0, "batch": 64}
    model, seconds = trained(RESONANCE, task, task.train, **options)
    assert not model.training and seconds > 0
    assert accuracy(predict(model, task.test[0]), task.test[1]) > 0.85
    table = errors(asked(model), *task.test, count=7)
    scores = predict(model, task.test[0])
    assert (scores.argmax(1)[table["index"].tolist()].numpy() == table["prediction"]).all()
    assert (table["prediction"] != table["label"]).all() and table["confidence"].is_monotonic_decreasing
    short = {**options, "steps": 3}
    states = [trained(RESONANCE, task, task.train, **short)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_contender_takes_every_size_and_trains():
    task = image_task(toy_images())
    for contender in CONTENDERS:
        model, _ = trained(contender, task, task.train, rate=1e-3, steps=2, seed=0, batch=16)
        for side in (6, 8, 11):
            assert predict(model, torch.rand(3, 1, side, side)).shape == (3, 10)


def test_positions_of_the_peers_are_relative_to_the_image():
    coarse, fine = (plane_positions(n, n, 12, like=torch.zeros(1)) for n in (5, 15))
    torch.testing.assert_close(fine[1::3, 1::3], coarse)
    assert not torch.equal(coarse[0, 1], coarse[1, 0])
    assert PatchFNet(hidden_dim=7, num_layers=1)(torch.rand(1, 1, 8, 8)).shape == (1, 10)


def test_logistic_regression_separates_what_a_line_separates():
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    corners = images[:, 0, [0, 0, 3], [0, 3, 0]]
    labels = corners.argmax(1)
    model = fit_logistic(images, labels, 1e-4)
    assert accuracy(logistic_scores(model, images), labels) > 0.95
    assert accuracy(logistic_scores(fit_logistic(images, labels, 10.0), images), labels) < 0.95


def test_what_models_are_asked_is_the_same_for_all():
    task = image_task(toy_images())
    seen = []

    def ask(images):
        seen.append(images)
        return torch.eye(10)[torch.arange(len(images)) % 10]  # right by construction

    levels = {"rotation": [0.0, 20.0], "noise": [0.0, 0.2], "occlusion": [0.0, 0.5]}
    table = robustness([("a", 0, ask), ("b", 0, ask)], *task.test, seed=3, levels=levels)
    assert len(table) == 12 and (table["accuracy"] == 1).all()
    assert all(torch.equal(first, second) for first, second in zip(seen[::2], seen[1::2], strict=True))
    for first in (0, 4, 8):
        torch.testing.assert_close(seen[first], task.test[0])
    assert not torch.equal(seen[2], seen[0])
    seen.clear()
    sizes = size_freedom([("a", 0, ask)], *task.test, [5, 8, 12])
    assert [x.shape[-1] for x in seen] == [5, 8, 8, 8, 12, 8]
    torch.testing.assert_close(seen[2], task.test[0])
    assert set(sizes["way"]) == {"as it comes", "brought back"}
    torch.testing.assert_close(resized(torch.ones(1, 1, 9, 9), 5), torch.ones(1, 1, 5, 5))


def test_pictures_of_the_weights_are_the_weights():
    torch.manual_seed(0)
    model = ResonanceVisionNet(3, in_channels=1, patch_size=1, hidden_dim=6, num_layers=2, num_frequencies=3)
    gains = learned_gains(model)
    assert len(gains) == 2 * 25
    flipped = gains.assign(fy=-gains["fy"], fx=-gains["fx"]).sort_values(["block", "fy", "fx"])
    np.testing.assert_array_equal(flipped["gain"], gains.sort_values(["block", "fy", "fx"])["gain"])
    kernels = learned_kernels(model, 2, side=9)
    mixing = model.blocks[0].mixing
    strongest = mixing.weight.magnitude.square().sum(0).argmax()
    point = torch.zeros(1, 9, 9, 6)
    point[:, 4, 4] = 1.0
    mixing.interference = None
    expected = mixing(point)[0, ..., strongest].detach()
    first = kernels[kernels["channel"] == 0].pivot(index="y", columns="x", values="value").to_numpy()
    torch.testing.assert_close(torch.from_numpy(first) / 9, expected, atol=1e-5, rtol=0)


def test_batches_are_every_image_once_an_epoch():
    images, labels = torch.rand(10, 1, 4, 4), torch.arange(10)
    batches = augmented_batches(images, labels, 4, torch.Generator().manual_seed(0), shift=0.0, degrees=0.0, scale=0.0)
    epoch = [next(batches) for _ in range(3)]
    assert sorted(torch.cat([label for _, label in epoch]).tolist()) == list(range(10))
    for moved, label in epoch:
        torch.testing.assert_close(moved, images[label])
