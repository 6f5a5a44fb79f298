"""T2: limits, laws and bounds of the hologram against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.pipeline.ledger import printed_claims
from artifact.studies.holographic_capacity.capacity import (
    PRINTED,
    REFERENCES,
    SCHEMES,
    blind_reading,
    carrier_error,
    contradiction,
    gaussian_patterns,
    generator_of,
    illuminated_error,
    illuminated_points,
    information_bits,
    least_error,
    lookalikes,
    lookalikes_error,
    needed_bits,
    quantise,
    quantised_error,
    real_error,
    recorded_bits_bound,
    reference_error,
    references_of,
    relative_error,
    scheme_errors,
    shannon_bits,
)
from artifact.studies.holographic_capacity.holography import IntensityHologram, plane_waves, random_phasors
from resonance.memory import HolographicMemory


def test_the_printed_table_is_the_claims():
    text = printed_claims().loc["T2.table", "printed_figure"]
    assert text == "; ".join(f"{d} -> {n}, {e}, {b}" for d, n, e, b in PRINTED.itertuples(index=False))


def test_the_table_contradicts_itself():
    table = contradiction()
    assert (table["ratio"] > 130).all() and (table["best"] > 0.97).all() and (table["trace"] > 0.83).all()
    assert (table["bits"] * 64 == table["dim"] ** 2).all()


@given(st.integers(1, 1000), st.integers(1, 1000), st.floats(1e-4, 0.999))
def test_rate_and_distortion_are_inverse(n, dim, error):
    assert least_error(needed_bits(n, dim, error), n, dim) == pytest.approx(error)


def test_schemes_err_as_they_say():
    table = scheme_errors(64, 31, seed=0, dtype=torch.float64)
    assert list(table["scheme"]) == list(SCHEMES)
    for _, row in table.iterrows():
        assert row["error"] == pytest.approx(row["theory"], rel=0.15, abs=1e-11), row["scheme"]
    single = scheme_errors(64, 31, seed=0)
    assert single.loc[single["theory"] == 0, "error"].max() < 1e-5


def test_the_memory_is_the_hologram():
    n, dim, aperture = 7, 5, 16
    re, im = gaussian_patterns(n, dim, generator_of(0), torch.float64)
    memory = HolographicMemory(dim, n, complex_patterns=True, aperture=aperture).double()
    keys = memory.encode(torch.complex(re, im))
    hologram = IntensityHologram(plane_waves(range(1, n + 1), aperture, torch.float64))
    torch.testing.assert_close(memory.hologram, hologram.record((re, im)))
    torch.testing.assert_close(memory.reconstruct(keys), torch.complex(*hologram.read(memory.hologram)))


def test_illuminating_without_a_carrier():
    assert illuminated_error(200_000, "Gaussian", seed=0) == pytest.approx(math.sqrt(15), rel=0.05)
    assert illuminated_error(200_000, "unit modulus", seed=0) == pytest.approx(math.sqrt(6), rel=0.02)
    points = illuminated_points(64, seed=0)
    assert (points["carrier"] - points["pattern"]).abs().max() < 1e-12
    assert (points["printed"] - points["pattern"]).abs().max() > 0.5


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 60), st.data())
def test_past_the_limit_each_reading_carries_its_twin(dim, data):
    n = data.draw(st.integers(1, dim - 1))
    medium = IntensityHologram(plane_waves(range(1, n + 1), dim, torch.float64))
    re, im = gaussian_patterns(n, 3, generator_of(n), torch.float64)
    read = torch.complex(*medium.read(medium.record((re, im))))
    twins = {f: dim - f for f in range(1, n + 1) if dim - f <= n}
    expected = torch.complex(re, im)
    for f, twin in twins.items():
        expected[f - 1] += torch.complex(re, -im)[twin - 1]
    torch.testing.assert_close(read, expected)
    row = carrier_error(dim, n, seed=0)
    assert row["theory"] == pytest.approx(math.sqrt(len(twins) / n)) and bool(twins) == (row["load"] > 1)


def test_past_the_limit_by_half():
    row = carrier_error(256, 191, seed=0)
    assert row["error"] == pytest.approx(row["theory"], rel=0.02) and row["error"] > 0.8


@pytest.mark.parametrize(("nyquist", "count"), [(False, 62), (True, 63)])
def test_real_patterns_fill_both_quadratures(nyquist, count):
    patterns, error = real_error(64, nyquist=nyquist, seed=0)
    assert patterns == count and error < 1e-12


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 24), st.integers(0, 3), st.booleans(), st.integers(0, 100))
def test_no_readout_passes_the_limit(n, spare, waves, seed):
    """Two sets of 2N >= A patterns that no readout tells apart, for plane waves and for random references."""
    aperture = max(2, 2 * n - spare)
    draw = random_phasors(n, aperture, generator_of(seed), torch.float64)
    references = plane_waves(range(1, n + 1), aperture, torch.float64) if waves else draw
    p, q = lookalikes(references, seed=seed)
    record = IntensityHologram(references).record
    h, g = (record((x.real[:, None], x.imag[:, None])) for x in (p, q))
    assert (p - q).norm() > 1e-6 * p.norm()
    torch.testing.assert_close(h, g, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(0, 2), st.integers(0, 100))
def test_lookalikes_are_mirror_images_in_a_hyperplane_of_the_anchors(n, spare, seed):
    references = random_phasors(n, max(2, 2 * n - spare), generator_of(seed), torch.float64)
    anchors = -torch.cat(references).mT
    p, q = (torch.cat([x.real, x.imag]) for x in lookalikes(references, seed=seed))
    middle, normal = (p + q) / 2, (p - q) / (p - q).norm()
    torch.testing.assert_close((anchors - middle) @ normal, torch.zeros(len(anchors), dtype=torch.float64))
    row = IntensityHologram(references).record((p[:n, None], p[n:, None]))[0]
    torch.testing.assert_close(row, (anchors - p).square().sum(dim=1))
    if spare == 0:  # affinely independent anchors, one hyperplane: one of the two is beyond its distance
        assert max(p.norm(), q.norm()) >= (middle @ normal).abs() * (1 - 1e-9)


@pytest.mark.parametrize("n", [1, 5])
def test_anchors_that_span_are_read_linearly(n):
    references = random_phasors(n, 2 * n + 1, generator_of(n), torch.float64)
    anchors = -torch.cat(references).mT
    re, im = gaussian_patterns(n, 1, generator_of(n + 1), torch.float64)
    row = IntensityHologram(references).record((re, im))[0] - anchors.square().sum(dim=1)
    read = torch.linalg.solve(-2 * (anchors[1:] - anchors[0]), row[1:] - row[0])
    torch.testing.assert_close(read, torch.cat([re, im])[:, 0])


def test_lookalikes_need_the_limit_to_be_passed():
    with pytest.raises(ValueError, match="expected at least 8 references on 16 pixels, got 7"):
        lookalikes(plane_waves(range(1, 8), 16), seed=0)
    apart = lookalikes_error(32, 16, seed=0)
    assert apart["patterns"] > 1e-3 and apart["holograms"] < 1e-14


def test_the_law_of_noise():
    for n, snr in ((20, 1.0), (63, 100.0)):
        rows = [carrier_error(128, n, snr=snr, seed=s) for s in range(6)]
        mean = sum(row["error"] for row in rows) / len(rows)
        assert rows[0]["theory"] == pytest.approx(math.sqrt(2 * n / (128 * snr)))
        assert mean == pytest.approx(rows[0]["theory"], rel=0.02)


@given(st.floats(0.01, 1e4), st.integers(2, 300))
def test_linear_reading_never_beats_shannon(snr, limit):
    dim = 2 * limit + 2
    shared = [n * dim * math.log2(1 + dim * snr / (2 * n)) for n in range(1, limit + 1)]
    assert shared == sorted(shared), "more patterns, more bits"
    assert shared[-1] <= shannon_bits(dim, snr) * (1 + 1e-12)
    assert shared[-1] >= (1 - 2 / dim) * shannon_bits(dim, snr)


@pytest.mark.parametrize("snr", [0.1, 1.0])
def test_the_zero_order_tells_more_than_the_fringes(snr):
    """One pattern on four pixels: I(P; H) by quadrature lies within its bounds, and above the pixels' capacity."""
    dim = 4
    reading, pixel = 2 / (dim * snr), 2 / snr  # noise power of a reading, and of a pixel
    r = torch.linspace(0, 5, 201, dtype=torch.float64)[1:]  # |P|
    f = torch.linspace(0, 5 + 5 * math.sqrt(reading), 301, dtype=torch.float64)[:, None]  # |reading|
    z = torch.linspace(-6 * math.sqrt(pixel), 2 * 15 + 6 * math.sqrt(pixel), 400, dtype=torch.float64)
    prior = 2 * r * torch.exp(-r.square()) * (r[1] - r[0])
    ring = torch.exp(-((f - r) ** 2) / reading) * torch.special.i0e(2 * f * r / reading) / (math.pi * reading)
    bump = torch.exp(-((z - math.sqrt(dim) * r[:, None] ** 2) ** 2) / (2 * pixel)) / math.sqrt(2 * math.pi * pixel)
    density = (ring * prior) @ bump
    area = 2 * math.pi * f * (f[1] - f[0]) * (z[1] - z[0])
    assert (density * area).sum().item() == pytest.approx(1, abs=1e-3)
    entropy = -(torch.xlogy(density, density) * area).sum().item()
    noise = math.log(math.pi * math.e * reading) + 0.5 * math.log(2 * math.pi * math.e * pixel)
    bits = dim * (entropy - noise) / math.log(2)
    readings = dim * math.log2(1 + 1 / reading)
    assert readings + 0.01 < bits < recorded_bits_bound(dim, 1, snr)
    assert bits > shannon_bits(dim, snr) > readings


def test_the_zero_order_matters_less_in_larger_holograms():
    shares = [
        recorded_bits_bound(d, (d - 1) // 2, s) / shannon_bits(d, s) for d, s in ((64, 0.1), (64, 1.0), (256, 1.0))
    ]
    assert shares == pytest.approx([1.23, 1.06, 1.02], abs=0.01)


def test_information_is_that_of_a_gaussian_channel():
    patterns, noise = (gaussian_patterns(300, 300, generator_of(s), torch.float64) for s in (0, 1))
    read = tuple(p + 0.5 * z for p, z in zip(patterns, noise, strict=True))
    assert information_bits(read, patterns) == pytest.approx(90_000 * math.log2(1 + 4), rel=0.01)
    assert information_bits(noise, patterns) < 20
    scaled = tuple(3.0 * part for part in read)
    assert information_bits(scaled, patterns) == pytest.approx(information_bits(read, patterns))


@settings(deadline=None)
@given(st.integers(1, 12), st.floats(-5, 5), st.floats(0.1, 10))
def test_quantised_levels(bits, low, width):
    x = low + width * torch.linspace(0, 1, 999, dtype=torch.float64)
    y = quantise(x, bits)
    step = width / (2**bits - 1)
    assert len(y.unique()) <= 2**bits and (y - x).abs().max() <= step / 2 * (1 + 1e-6)
    torch.testing.assert_close(y[[0, -1]], x[[0, -1]])


def test_rounding_follows_its_law_and_pays():
    for bits in (5, 8):
        row = quantised_error(128, 63, bits, seed=0)
        assert row["error"] == pytest.approx(row["law"], rel=0.03) and 0.5 < row["needed"] < 1


# --------------------------------------------------------------------------- noise, every reference


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 24), st.data())
def test_no_references_are_read_with_less_noise_than_plane_waves(dim, data):
    n, seed = data.draw(st.integers(1, (dim - 1) // 2)), data.draw(st.integers(0, 999))
    references = gaussian_patterns(n, dim, generator_of(seed), torch.float64)
    linear, reading = blind_reading(references)
    torch.testing.assert_close(reading @ linear, torch.eye(2 * n, dtype=torch.float64), atol=1e-6, rtol=0)
    assert reading.sum(dim=1).abs().max() < 1e-8 * max(1.0, reading.norm().item())
    row = reference_error(references, snr=3.0, seed=seed)
    assert row["expected"] >= row["bound"] * (1 - 1e-9)
    other = blind_reading(references_of("random phases", n, dim, seed=seed))[1]  # one of least noise for others only
    assert reading.norm() <= (reading + other - other @ linear @ reading).norm() + 1e-9


@pytest.mark.parametrize("dim", [9, 16, 33])
def test_equality_takes_both_conditions(dim):
    n = (dim - 1) // 2 - 1
    excess = {}
    for kind in REFERENCES:
        references = references_of(kind, n, dim, seed=1)
        row = reference_error(references, snr=10.0, seed=0)
        excess[kind] = row["expected"] / row["bound"] - 1
        if kind == "carriers + 1/2":  # orthogonal to each other, not to the zero order
            linear = blind_reading(references)[0]
            gram = linear.mT @ linear
            torch.testing.assert_close(gram, gram[0, 0] * torch.eye(2 * n, dtype=torch.float64), atol=1e-9, rtol=0)
    assert abs(excess.pop("plane waves")) < 1e-9
    assert min(excess.values()) > 1e-4


def test_two_powers_cost_what_the_harmonic_mean_says():
    row = reference_error(references_of("two powers", 20, 64, seed=0), snr=10.0, seed=0)
    assert row["expected"] / row["bound"] == pytest.approx(math.sqrt((1 + 4) / 2 * (1 + 1 / 4) / 2))


@pytest.mark.parametrize("kind", REFERENCES)
def test_readings_have_the_error_of_their_norm(kind):
    row = reference_error(references_of(kind, 40, 128, seed=2), snr=5.0, seed=3)
    assert row["error"] == pytest.approx(row["expected"], rel=0.04)


def test_a_biased_reading_has_less_error_than_the_bound():
    n, dim, e2 = 20, 64, 2 * 20 / 64  # SNR 1
    patterns = gaussian_patterns(n, dim, generator_of(0), torch.float64)
    noise = gaussian_patterns(n, dim, generator_of(1), torch.float64)
    read = tuple((p + math.sqrt(e2) * q) / (1 + e2) for p, q in zip(patterns, noise, strict=True))
    assert relative_error(read, patterns) == pytest.approx(math.sqrt(e2 / (1 + e2)), rel=0.05)
    assert relative_error(read, patterns) < 0.85 * math.sqrt(e2)


@pytest.mark.parametrize(("n", "dim"), [(4, 8), (3, 4)])
def test_no_unbiased_reading_past_the_limit(n, dim):
    with pytest.raises(ValueError, match="independent"):
        blind_reading(gaussian_patterns(n, dim, generator_of(0), torch.float64))
