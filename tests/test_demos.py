"""The demonstrations of the site compute what the library computes: their JavaScript, run by node, beside Python."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from artifact.datasets.series import load_co2
from artifact.files import ROOT
from artifact.studies.holographic_capacity.capacity import carrier_error, gaussian_patterns, relative_error
from artifact.studies.holographic_capacity.holography import IntensityHologram, plane_waves
from artifact.studies.information.approximation import projecting_layer
from artifact.studies.information.information import SIGNALS, layer_matrix, transmitted_information, white_noise
from resonance import HolographicMemory, TurningMixing, analysis, synthesis
from resonance.causal_mixing import unit_readout
from resonance.forecasting import forecast_task, window_errors
from resonance.memory import capacity_of
from resonance.time_series import Setting

DEMOS = ROOT / "docs" / "demos"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="node, which runs the demonstrations' JavaScript, is not installed"
)


def javascript(name: str, body: str, **given):
    """What `body` returns, a function of M, the module docs/demos/<name>.js, and the fields of `given`."""
    code = f"const M = require({json.dumps(str(DEMOS / name))});" + (
        "const given = JSON.parse(require('fs').readFileSync(0));"
        "const spread = (key, value) => ArrayBuffer.isView(value) ? [...value] : value;"
        f"const run = ({{{', '.join(given)}}}) => {{ {body} }};"
        "process.stdout.write(JSON.stringify(run(given), spread));"
    )
    done = subprocess.run([NODE, "-e", code], input=json.dumps(given), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def close(found, wanted, tolerance=1e-5):
    wanted = np.asarray(wanted, dtype=np.float64)
    assert np.shape(found) == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


# --------------------------------------------------------------------------- a band


@pytest.mark.parametrize(("n", "grid", "k"), [(32, 32, 7), (32, 32, 17), (20, 32, 9)])
def test_band_and_reconstruction(n, grid, k):
    x = torch.randn(1, n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(n + k))
    body = "const X = M.analysis(x, k, grid); return [X.re, X.im, M.synthesis(X, x.length, grid)];"
    re, im, y = javascript("band.js", body, x=x.flatten().tolist(), k=k, grid=grid)
    wanted = analysis(x, k, grid=grid)
    close(re, wanted[0].flatten())
    close(im, wanted[1].flatten())
    close(y, synthesis(*wanted, n, grid=grid).flatten())


@pytest.mark.parametrize("signal", SIGNALS)
def test_information_that_a_band_keeps(signal):
    n, snr = 32, 10
    body = "return M.information(M.SIGNALS[signal](n), M.noisePower(snr));"
    bits = javascript("band.js", body, signal=signal, n=n, snr=snr)
    covariance = SIGNALS[signal](n)
    noise = white_noise(covariance, snr)
    ks = (1, 2, 7, 16, 17)
    wanted = [transmitted_information(layer_matrix(projecting_layer(k), n), covariance, noise) for k in ks]
    close([bits[k - 1] for k in ks], wanted)


# --------------------------------------------------------------------------- a hologram


@pytest.mark.parametrize("n", [5, 7, 9, 14])  # 16 pixels hold 7
def test_hologram_up_to_its_limit_and_past_it(n, aperture=16):
    patterns = gaussian_patterns(n, aperture, torch.Generator().manual_seed(n), torch.float64)
    medium = IntensityHologram(plane_waves(range(1, n + 1), aperture, torch.float64))
    hologram = medium.record(patterns)
    given = [{"re": re.tolist(), "im": im.tolist()} for re, im in zip(*patterns, strict=True)]
    body = (
        "const H = M.record(patterns, aperture), found = patterns.map((_, i) => M.read(H, i + 1));"
        "return {H, re: found.map((p) => p.re), im: found.map((p) => p.im), error: M.error(found, patterns),"
        " expected: M.expected(patterns.length, aperture), capacity: M.capacity(aperture)};"
    )
    found = javascript("hologram.js", body, patterns=given, aperture=aperture)
    read = medium.read(hologram)
    close(found["H"], hologram)
    close(found["re"], read[0])
    close(found["im"], read[1])
    assert found["error"] == pytest.approx(relative_error(read, patterns), abs=1e-9)
    assert found["expected"] == pytest.approx(carrier_error(aperture, n, seed=0)["theory"], abs=1e-12)
    assert found["capacity"] == capacity_of(aperture, complex_patterns=True)
    if n <= found["capacity"]:
        memory = HolographicMemory(aperture, n, complex_patterns=True, aperture=aperture).double()
        stored = memory.reconstruct(memory.encode(torch.complex(*patterns)))
        close(found["re"], stored.real)
        close(found["im"], stored.imag)
    else:
        assert found["error"] > 0.3


# --------------------------------------------------------------------------- the forecaster


@pytest.mark.parametrize(("horizon", "rank"), [(52, 5), (13, 3)])  # even and odd
def test_forecaster_in_closed_form(horizon, rank):
    series = load_co2()
    task, lookback, stride = forecast_task(series, horizon), 416, 11
    body = (
        "const task = M.makeTask(series, horizon);"
        "const steps = M.moments(task, stride); let step = steps.next(); while (!step.done) step = steps.next();"
        "const spectra = M.spectra(task, step.value), model = M.fit(task, spectra, rank, 0.01 * spectra.size);"
        "const starts = M.starts(task, 2), forecast = (c, s) => M.predict(task, model, c, s);"
        "return {ridge: model.ridge, parameters: model.parameters, lookback: task.lookback, windows: starts.length,"
        " y: starts.slice(-3).map((s) => forecast(task.scaled[0], s)), error: M.error(task, forecast, 2)};"
    )
    given = {"name": "co2", "channels": ["co2"], "period": 52, "values": series.values.T.tolist()}
    found = javascript("forecast.js", body, series=given, horizon=horizon, rank=rank, stride=stride)
    assert found["lookback"] == lookback
    setting = Setting(lookback, 0.5, 1.0, rank, found["ridge"])
    model = setting.fitted(task, setting.moments(task, stride))
    windows = task.windows("test", lookback)
    assert found["windows"] == len(windows)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    past, _ = windows.batch(torch.arange(len(windows) - 3, len(windows)))
    with torch.no_grad():
        close(found["y"], model(past)[:, :, 0])
        assert found["error"] == pytest.approx(window_errors(model, windows)[0].mean(), rel=1e-5)


def test_a_csv_is_read_or_refused():
    def read(text):
        body = "try { return M.parseCsv(text); } catch (problem) { return problem.message; }"
        return javascript("forecast.js", body, text=text)

    good = read('"date";a;b\n2020-01-01 00:00;1;2\n2020-01-01 01:00;3;-4e1\n2020-01-01 02:00;5;6\n')
    assert good == {"channels": ["a", "b"], "values": [[1, 3, 5], [2, -40, 6]], "period": 24}
    assert read("a\n1\n2\n3\n")["period"] == 1
    assert "expected a header" in read("a,b\n")
    assert read("date,a\n2020-01-01,1\n2020-01-02,x\n") == 'row 3: expected a number in "a", got "x"'
    assert read("date,a\n2020-01-01,1\n2020-01-02,\n") == 'row 3: expected a number in "a", got ""'
    assert read("date,a\n2020-01-01,1\n2020-01-02,1,2\n") == "row 3: expected 2 fields, got 3"


# --------------------------------------------------------------------------- a turning phase


@pytest.mark.parametrize("grid", [None, 2, 5])
def test_turning_frames(grid):
    torch.manual_seed(1)
    layer = TurningMixing(8, 3, heads=2, grid=grid, longest=16).double()
    with torch.no_grad():
        layer.turn.normal_()
        layer.anchor.normal_()
        x = torch.randn(1, 60, 8, dtype=torch.float64)
        wanted = layer(x)[0]
        poles = layer.mixing.poles(torch.float64)
        readout = unit_readout(layer.mixing.readout, poles)
    given = {
        "turn": layer.turn.tolist(),
        "grid": grid or 0,
        "poles": poles.tolist(),
        "readout": readout.tolist(),
        "direct": layer.mixing.direct.tolist(),
        "anchor": layer.anchor.tolist(),
    }
    close(javascript("parity.js", "return M.run(layer, x);", layer=given, x=x[0].tolist()), wanted)


def test_half_turns_count_and_other_angles_do_not():
    bits = torch.randint(2, (2000,), generator=torch.Generator().manual_seed(0))
    body = "return M.run(M.counter(angle, grid), bits.map((bit) => [1, bit])).map((y) => +(y[0] < 0));"
    odd = (bits.cumsum(0) % 2).tolist()
    assert javascript("parity.js", body, bits=bits.tolist(), angle=0.49, grid=2) == odd
    assert javascript("parity.js", body, bits=bits.tolist(), angle=0.49, grid=0) != odd
