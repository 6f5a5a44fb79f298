"""The holograms: one algebra, exact where they say so, and torchhd's FHRR as the oracle of the trace."""

from __future__ import annotations

import math

import pytest
import torch
import torchhd
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.studies.holographic_capacity.capacity import gaussian_patterns, generator_of, relative_error
from artifact.studies.holographic_capacity.holography import (
    AmplitudeHologram,
    IntensityHologram,
    PhaseShiftingHologram,
    PhasorTrace,
    PseudoInverseHologram,
    RealHologram,
    bind,
    bundle,
    cosine_waves,
    plane_waves,
    random_phasors,
    stored_reals,
    unbind,
)

DOUBLE = torch.float64
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}
dtypes = st.sampled_from(list(TOLERANCE))


def to_complex(pair):
    return torch.complex(*pair)


def oracle(pair):
    return to_complex(pair).as_subclass(torchhd.FHRRTensor)


@pytest.mark.parametrize("d", [1, 7, 64])
def test_the_algebra_is_torchhds(d):
    a, b = (random_phasors(5, d, generator_of(s), DOUBLE) for s in (0, 1))
    torch.testing.assert_close(to_complex(bind(a, b)), oracle(a).bind(oracle(b)).as_subclass(torch.Tensor))
    torch.testing.assert_close(to_complex(bundle(a)), oracle(a).multibundle().as_subclass(torch.Tensor))
    inverse = oracle(a).bind(oracle(b).inverse()).as_subclass(torch.Tensor)
    torch.testing.assert_close(to_complex(unbind(a, b)), inverse)
    torch.testing.assert_close(to_complex(unbind(bind(a, b), b)), to_complex(a))


def test_the_trace_is_torchhds():
    patterns, keys = (random_phasors(6, 40, generator_of(s), DOUBLE) for s in (0, 1))
    trace = PhasorTrace(keys).record(patterns)
    expected = oracle(patterns).bind(oracle(keys)).multibundle()
    torch.testing.assert_close(to_complex(trace), expected.as_subclass(torch.Tensor))
    read = PhasorTrace(keys).read(trace)
    torch.testing.assert_close(to_complex(read)[2], expected.bind(oracle(keys).inverse()[2]).as_subclass(torch.Tensor))


def test_random_phasors_are_torchhds_in_law():
    ours, theirs = to_complex(random_phasors(200, 200, generator_of(0))), torchhd.FHRRTensor.random(200, 200)
    for x in (ours, theirs.as_subclass(torch.Tensor)):
        torch.testing.assert_close(x.abs(), torch.ones(200, 200))
        assert x.mean().abs() < 0.02 and x.square().mean().abs() < 0.02


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 9), st.data(), dtypes)
def test_plane_waves_read_exactly(aperture, dim, data, dtype):
    n = data.draw(st.integers(1, aperture))
    patterns = gaussian_patterns(n, dim, generator_of(n), dtype)
    for medium in (AmplitudeHologram, PseudoInverseHologram, PhaseShiftingHologram):
        hologram = medium(plane_waves(range(n), aperture, dtype))
        assert relative_error(hologram.read(hologram.record(patterns)), patterns) < TOLERANCE[dtype]


def test_bfloat16_reads_to_its_own_precision():
    patterns = gaussian_patterns(31, 8, generator_of(0), torch.bfloat16)
    hologram = AmplitudeHologram(plane_waves(range(31), 64, torch.bfloat16))
    assert relative_error(hologram.read(hologram.record(patterns)), patterns) < 0.02


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 71), st.integers(1, 9), dtypes)
def test_an_intensity_holds_half_the_aperture_less_one(aperture, dim, dtype):
    n = (aperture - 1) // 2
    patterns = gaussian_patterns(n, dim, generator_of(dim), dtype)
    hologram = IntensityHologram(plane_waves(range(1, n + 1), aperture, dtype))
    record = hologram.record(patterns)
    assert record.shape == (dim, aperture) and record.min() >= 0
    assert relative_error(hologram.read(record), patterns) < TOLERANCE[dtype]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 65), st.integers(1, 5), dtypes)
def test_cosine_waves_fill_the_whole_aperture(aperture, dim, dtype):
    waves = cosine_waves(aperture, aperture, dtype)
    torch.testing.assert_close(waves @ waves.T / aperture, torch.eye(aperture, dtype=dtype), rtol=0, atol=1e-5)
    patterns = torch.randn(aperture, dim, generator=generator_of(1), dtype=dtype)
    hologram = RealHologram(waves)
    assert relative_error(hologram.read(hologram.record(patterns)), patterns) < TOLERANCE[dtype]


def test_cosine_waves_are_the_dct():
    from scipy.fft import dct

    eye = torch.eye(9, dtype=DOUBLE)
    torch.testing.assert_close(
        cosine_waves(9, 9, DOUBLE) / 3, torch.from_numpy(dct(eye.numpy(), axis=0, norm="ortho")), rtol=0, atol=1e-12
    )


def test_plane_waves_are_the_dft_at_any_carrier():
    aperture = 1000
    waves = to_complex(plane_waves([0, 1, 999, 1001, 10**12 + 1], aperture, DOUBLE))
    reference = torch.fft.ifft(torch.eye(aperture, dtype=DOUBLE)[[0, 1, 999]]) * aperture
    torch.testing.assert_close(waves[:3], reference)
    assert torch.equal(waves[1], waves[3]) and torch.equal(waves[1], waves[4])


def test_an_intensity_is_what_a_detector_sees():
    p, r = (random_phasors(4, 12, generator_of(s), DOUBLE) for s in (0, 1))
    expected = sum((to_complex(p)[i][:, None] + to_complex(r)[i]).abs().square() for i in range(4))
    torch.testing.assert_close(IntensityHologram(r).record(p), expected)


def test_four_frames_give_the_amplitude_hologram():
    p, r = (random_phasors(4, 12, generator_of(s), DOUBLE) for s in (0, 1))
    frames, amplitude = PhaseShiftingHologram(r), AmplitudeHologram(r)
    assert relative_error(frames.read(frames.record(p)), amplitude.read(amplitude.record(p))) < 1e-13
    assert relative_error(amplitude.read(amplitude.record(p)), p) > 0.1, "random references leave crosstalk"


@pytest.mark.parametrize("kind", [PhasorTrace, AmplitudeHologram, PseudoInverseHologram])
def test_records_add_up(kind):
    d = 12
    p, q, r = (random_phasors(4, d, generator_of(s), DOUBLE) for s in (0, 1, 2))
    both = to_complex(kind(r).record((p[0] + q[0], p[1] + q[1])))
    torch.testing.assert_close(both, to_complex(kind(r).record(p)) + to_complex(kind(r).record(q)))


def test_crosstalk_follows_its_laws():
    n, d = 60, 400
    patterns = gaussian_patterns(n, d, generator_of(0), DOUBLE)
    random = random_phasors(n, d, generator_of(1), DOUBLE)
    trace, matched, exact = PhasorTrace(random), AmplitudeHologram(random), PseudoInverseHologram(random)
    assert relative_error(trace.read(trace.record(patterns)), patterns) == pytest.approx(math.sqrt(n - 1), rel=0.05)
    error = relative_error(matched.read(matched.record(patterns)), patterns)
    assert error == pytest.approx(math.sqrt((n - 1) / d), rel=0.05)
    assert relative_error(exact.read(exact.record(patterns)), patterns) < 1e-12


def test_stored_reals_are_counted():
    n, d, a = 3, 5, 8
    p, r = gaussian_patterns(n, d, generator_of(0)), plane_waves(range(1, n + 1), a)
    keys = random_phasors(n, d, generator_of(0))
    assert stored_reals(PhasorTrace(keys).record(p)) == 2 * d
    assert stored_reals(AmplitudeHologram(r).record(p)) == 2 * d * a
    assert stored_reals(IntensityHologram(r).record(p)) == d * a
    assert stored_reals(RealHologram(r[0]).record(p[0])) == d * a
    assert stored_reals(PhaseShiftingHologram(r).record(p)) == 4 * d * a


def test_wrong_input_is_named():
    r = plane_waves(range(1, 4), 8)
    with pytest.raises(ValueError, match=r"expected 3 patterns .* got \(2, 5\)"):
        AmplitudeHologram(r).record(gaussian_patterns(2, 5, generator_of(0)))
    with pytest.raises(ValueError, match="expected 3 patterns"):
        RealHologram(r[0]).record(torch.zeros(3))
    with pytest.raises(ValueError, match="1 to 8 cosine waves"):
        cosine_waves(9, 8)
