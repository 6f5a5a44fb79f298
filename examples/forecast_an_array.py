"""Forecast an array of one's own: settings are chosen, two baselines compared, intervals measured."""

import numpy as np

from resonance import Forecaster

hours = np.arange(60 * 24)
daily, weekly = np.sin(2 * np.pi * hours / 24), 0.5 * np.sin(2 * np.pi * hours / 168)
values = 20 + 5 * (daily + weekly)[:, None] * [1.0, 0.3] + np.random.default_rng(0).normal(size=(len(hours), 2))

coming = Forecaster(horizon=48, period=24).fit(values).predict()
print(coming)  # errors on held-back rows, and what limits the forecast
print(f"the next hour: {coming.values[0].round(1)}, between {coming.lower[0].round(1)} and {coming.upper[0].round(1)}")
