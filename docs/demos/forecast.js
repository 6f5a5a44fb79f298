// A forecaster fitted in closed form, as `resonance.time_series.Setting.fitted` (eq:forecast, eq:closed-form), in float64.
// Complex matrices are real ones of twice the size, [[re, -im], [im, re]]: a Hermitian matrix becomes a symmetric one whose
// eigenvalues occur twice.  Matrices are flat Float64Arrays by rows.
"use strict";

const Forecast = (() => {
  const MOST = 8192; // windows x channels of one fit, as in `resonance.forecaster`
  const RIDGES = [0.01, 0.1, 1, 10]; // in units of the mean eigenvalue of sum X X^H

  // ------------------------------------------------------------------ data

  // A header, then rows; the first column may be dates, all others are numbers.  Raises Error for anything else.
  function parseCsv(text) {
    const lines = text.replace(/^\ufeff/, "").split(/\r?\n/).filter((line) => line.trim());
    if (lines.length < 3) throw new Error(`expected a header and at least two rows, got ${lines.length} lines`);
    const sep = [",", ";", "\t"].sort((a, b) => lines[0].split(b).length - lines[0].split(a).length)[0];
    const names = lines[0].split(sep).map((name) => name.trim().replace(/^"|"$/g, ""));
    const cells = lines.slice(1).map((line) => line.split(sep));
    const odd = cells.findIndex((row) => row.length !== names.length);
    if (odd >= 0) throw new Error(`row ${odd + 2}: expected ${names.length} fields, got ${cells[odd].length}`);
    const number = (text) => (text.trim() === "" ? NaN : Number(text));
    const dated = Number.isNaN(number(cells[0][0]));
    const channels = names.slice(+dated);
    if (!channels.length) throw new Error("expected a column of numbers beside the dates");
    const values = channels.map((_, c) => Float64Array.from(cells, (row) => number(row[c + dated])));
    values.forEach((column, c) => {
      const bad = column.findIndex((v) => !Number.isFinite(v));
      if (bad >= 0) throw new Error(`row ${bad + 2}: expected a number in "${channels[c]}", got "${cells[bad][c + dated]}"`);
    });
    const dates = dated ? cells.map((row) => row[0].trim().replace(/^"|"$/g, "")) : null;
    return { channels, values, period: dates ? periodOf(dates) : 1 };
  }

  // A period by the step between the dates: a day of hours or minutes, a week of days, a year of weeks or months; else 1.
  function periodOf(dates) {
    const hours = (Date.parse(dates[2] || dates[1]) - Date.parse(dates[1])) / 3.6e6;
    if (hours > 0 && hours <= 12 && Number.isInteger(24 / hours)) return 24 / hours;
    return { 24: 7, 168: 52 }[hours] || (hours >= 28 * 24 && hours <= 31 * 24 ? 12 : 1);
  }

  // A series cut 60/20/20, or ETTh1 and ETTh2 by the published borders, and scaled by its training rows.
  // lookback: at most 30 periods, and a third of the training rows.  Raises Error for a series too short.
  function makeTask({ name, channels, values: columns, period }, horizon) {
    const values = columns.map((column) => Float64Array.from(column));
    const steps = values[0].length, published = /^ETTh[12]/.test(name) && steps >= 14400;
    const borders = published ? [8640, 11520, 14400] : [Math.floor((steps * 3) / 5), Math.floor((steps * 4) / 5), steps];
    const periods = Math.min(Math.max(1, Math.floor(720 / period)), Math.floor(borders[0] / 3 / period));
    const lookback = period * periods;
    if (!(period >= 1) || !(horizon >= 2)) throw new Error(`expected a period >= 1 and a horizon >= 2, got ${period} and ${horizon}`);
    if (lookback < 4 || borders[0] - lookback - horizon < 3 || borders[1] - borders[0] < horizon || borders[2] - borders[1] < horizon) {
      throw new Error(`${steps} rows are too few for a period of ${period} and a horizon of ${horizon} rows`);
    }
    const mean = [], scale = [];
    const scaled = values.map((column) => {
      const rows = column.subarray(0, borders[0]), m = rows.reduce((a, b) => a + b, 0) / rows.length;
      let sd = Math.sqrt(rows.reduce((sum, v) => sum + (v - m) ** 2, 0) / rows.length);
      if (!(sd > 1e-12 * Math.abs(m))) sd = Math.max(Math.abs(m), 1);
      mean.push(m);
      scale.push(sd);
      return Float64Array.from(column, (v) => Math.fround((v - m) / sd)); // float32, as the library's windows
    });
    return { name, channels, period, horizon, lookback, borders, mean, scale, scaled };
  }

  // First rows of the windows of a split, every stride-th.
  function starts(task, split, stride = 1) {
    const first = split ? task.borders[split - 1] - task.lookback : 0;
    const found = [];
    for (let s = first; s + task.lookback + task.horizon <= task.borders[split]; s += stride) found.push(s);
    return found;
  }

  // About `most` windows x channels, at every phase of the period.
  function strideOf(task, split, most) {
    const gcd = (a, b) => (b ? gcd(b, a % b) : a);
    let stride = Math.ceil(starts(task, split).length / Math.max(Math.floor(most / task.channels.length), 1));
    while (gcd(stride, task.period) > 1) stride++;
    return stride;
  }

  // ------------------------------------------------------------------ linear algebra

  function product(a, b, n, m, p) { // (n, m) (m, p)
    const out = new Float64Array(n * p);
    for (let i = 0; i < n; i++) {
      const row = out.subarray(i * p, i * p + p);
      for (let l = 0; l < m; l++) {
        const v = a[i * m + l];
        if (v === 0) continue;
        const other = b.subarray(l * p, l * p + p);
        for (let j = 0; j < p; j++) row[j] += v * other[j];
      }
    }
    return out;
  }

  function transposed(a, n, m) {
    const out = new Float64Array(n * m);
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) out[j * n + i] = a[i * m + j];
    return out;
  }

  // x with a x = b for each row b of `rows` (count, n), a symmetric and positive definite (n, n): in the place of the rows.
  function solve(a, n, rows, count) {
    const l = Float64Array.from(a);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = l[i * n + j];
        for (let m = 0; m < j; m++) sum -= l[i * n + m] * l[j * n + m];
        l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j];
      }
    }
    for (let r = 0; r < count; r++) {
      const x = rows.subarray(r * n, r * n + n);
      for (let i = 0; i < n; i++) {
        let sum = x[i];
        for (let m = 0; m < i; m++) sum -= l[i * n + m] * x[m];
        x[i] = sum / l[i * n + i];
      }
      for (let i = n - 1; i >= 0; i--) {
        x[i] /= l[i * n + i];
        for (let m = 0; m < i; m++) x[m] -= l[i * n + m] * x[i];
      }
    }
    return rows;
  }

  // The `count` leading eigenvectors of a symmetric matrix (n, n), as rows, by Jacobi's rotations.
  function leading(a, n, count) {
    const s = Float64Array.from(a), v = new Float64Array(n * n);
    for (let i = 0; i < n; i++) v[i * n + i] = 1;
    const size = Math.sqrt(s.reduce((sum, x) => sum + x * x, 0));
    for (let sweep = 0, off = Infinity; sweep < 60 && off > 1e-15 * size; sweep++) {
      off = 0;
      for (let p = 0; p < n; p++) {
        for (let q = p + 1; q < n; q++) {
          const apq = s[p * n + q];
          off = Math.max(off, Math.abs(apq));
          if (Math.abs(apq) <= 1e-17 * size) continue;
          const theta = (s[q * n + q] - s[p * n + p]) / (2 * apq);
          const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1)), c = 1 / Math.hypot(t, 1), si = t * c;
          for (let k = 0; k < n; k++) {
            const [x, y] = [s[k * n + p], s[k * n + q]];
            s[k * n + p] = c * x - si * y;
            s[k * n + q] = si * x + c * y;
          }
          for (let k = 0; k < n; k++) {
            const [x, y] = [s[p * n + k], s[q * n + k]];
            s[p * n + k] = c * x - si * y;
            s[q * n + k] = si * x + c * y;
            const [f, g] = [v[p * n + k], v[q * n + k]];
            v[p * n + k] = c * f - si * g;
            v[q * n + k] = si * f + c * g;
          }
        }
      }
    }
    const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => s[j * n + j] - s[i * n + i]).slice(0, count);
    const out = new Float64Array(count * n);
    order.forEach((from, to) => out.set(v.subarray(from * n, from * n + n), to * n));
    return out;
  }

  // ------------------------------------------------------------------ the fit

  // Second moments of past x and future y, the level subtracted: sum x x' and sum y x', each window weighted by
  // sd^-variancePower.  A generator of the share done, so that a page can draw between; returns (lookback + horizon, lookback).
  function* moments(task, stride, variancePower = 1) {
    const { lookback: n, horizon, period } = task, total = n + horizon, both = new Float64Array(total * n);
    const at = starts(task, 0, stride), four = [0, 1, 2, 3].map(() => new Float64Array(total));
    const jobs = at.flatMap((s) => task.scaled.map((column) => column.subarray(s, s + total)));
    for (let job = 0; job < jobs.length; job += 4) {
      four.forEach((x, i) => (job + i < jobs.length ? prepared(jobs[job + i], x, n, period, variancePower) : x.fill(0)));
      const [a, b, c, d] = four;
      for (let i = 0; i < total; i++) {
        const [p, q, r, s] = [a[i], b[i], c[i], d[i]], row = both.subarray(i * n, i * n + n);
        for (let j = 0, end = Math.min(i + 1, n); j < end; j++) row[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j];
      }
      if (job % 64 === 0) yield job / jobs.length;
    }
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) both[j * n + i] = both[i * n + j];
    return both;
  }

  function prepared(window, x, n, period, variancePower) {
    let mean = 0, square = 0, level = 0;
    for (let t = 0; t < n; t++) mean += window[t] / n;
    for (let t = 0; t < n; t++) square += (window[t] - mean) ** 2;
    for (let t = n - period; t < n; t++) level += window[t] / period;
    const weight = Math.max(Math.sqrt(square / (n - 1)), 1e-3) ** (-variancePower / 2);
    for (let t = 0; t < x.length; t++) x[t] = (window[t] - level) * weight;
  }

  // Analysis of n samples by the k lowest frequencies, the sample at t times weight(t): (2k, n), real rows, then imaginary.
  function analysis(n, k, weight) {
    const out = new Float64Array(2 * k * n);
    for (let f = 0; f < k; f++) {
      for (let t = 0; t < n; t++) {
        const angle = (2 * Math.PI * ((f * t) % n)) / n, scale = weight(f, t) / Math.sqrt(n);
        out[f * n + t] = scale * Math.cos(angle);
        out[(k + f) * n + t] = f === 0 || 2 * f === n ? 0 : -scale * Math.sin(angle);
      }
    }
    return out;
  }

  // From real products of stacked parts, (2r, 2k), the complex matrix that they make, as (2r, 2k) in real form.
  function hermitian(s, r, k) {
    const out = new Float64Array(4 * r * k), w = 2 * k;
    for (let i = 0; i < r; i++) {
      for (let j = 0; j < k; j++) {
        const re = s[i * w + j] + s[(r + i) * w + k + j], im = s[(r + i) * w + j] - s[i * w + k + j];
        out[i * w + j] = out[(r + i) * w + k + j] = re;
        out[(r + i) * w + j] = im;
        out[i * w + k + j] = -im;
      }
    }
    return out;
  }

  // The spectral moments of a task: what `fit` needs for any ridge.
  function spectra(task, both, taper = 0.5) {
    const { lookback: n, horizon } = task, k = Math.floor(n / 2) + 1, bins = Math.floor(horizon / 2) + 1;
    const weights = Float64Array.from({ length: n }, (_, t) => Math.fround((0.1 + (n - 1 - t) / 48) ** -taper));
    const count = (f) => (f === 0 || 2 * f === horizon ? 1 : 2);
    const past = analysis(n, k, (_, t) => weights[t]), future = analysis(horizon, bins, (f) => Math.sqrt(count(f)));
    const flipped = transposed(past, 2 * k, n);
    const gram = product(product(past, both.subarray(0, n * n), 2 * k, n, n), flipped, 2 * k, n, 2 * k);
    const cross = product(product(future, both.subarray(n * n), 2 * bins, horizon, n), flipped, 2 * bins, n, 2 * k);
    const g = hermitian(gram, k, k);
    let size = 0;
    for (let i = 0; i < 2 * k; i++) size += g[i * (2 * k + 1)] / (2 * k);
    return { k, bins, past, future, gram: g, cross: hermitian(cross, bins, k), size };
  }

  // The reduced-rank ridge regression of the future's band on the past's: forecast - level = out (into (past - level)).
  function fit(task, { k, bins, past, future, gram, cross }, rank, ridge) {
    const { lookback: n, horizon } = task, w = 2 * k, penalised = Float64Array.from(gram);
    for (let i = 0; i < w; i++) penalised[i * (w + 1)] += ridge;
    const full = solve(penalised, w, Float64Array.from(cross), 2 * bins); // B, symmetric solve of each row
    const fitted = product(full, transposed(cross, 2 * bins, w), 2 * bins, w, 2 * bins);
    const basis = leading(fitted, 2 * bins, 2 * rank); // (2 rank, 2 bins)
    const into = product(product(basis, full, 2 * rank, 2 * bins, w), past, 2 * rank, w, n); // (2 rank, lookback)
    const out = product(transposed(future, 2 * bins, horizon), transposed(basis, 2 * rank, 2 * bins), horizon, 2 * bins, 2 * rank);
    return { rank, ridge, into, out, parameters: 2 * rank * (k + bins) };
  }

  // The forecast after row `start + lookback - 1` of a scaled channel: horizon numbers.
  function predict(task, model, column, start) {
    const { lookback: n, horizon, period } = task, x = column.subarray(start, start + n), r = 2 * model.rank;
    let level = 0;
    for (let t = n - period; t < n; t++) level += x[t] / period;
    const inner = new Float64Array(r), y = new Float64Array(horizon).fill(level);
    for (let i = 0; i < r; i++) for (let t = 0; t < n; t++) inner[i] += model.into[i * n + t] * (x[t] - level);
    for (let h = 0; h < horizon; h++) for (let i = 0; i < r; i++) y[h] += model.out[h * r + i] * inner[i];
    return y;
  }

  // The last period again.
  function repeat(task, column, start) {
    const end = start + task.lookback, { period } = task;
    return Float64Array.from({ length: task.horizon }, (_, h) => column[end - period + (h % period)]);
  }

  // Mean squared error over windows, steps and channels of a split (1: validation, 2: test), in standardised units.
  function error(task, forecast, split, stride = 1) {
    let sum = 0, count = 0;
    for (const start of starts(task, split, stride)) {
      for (const column of task.scaled) {
        const y = forecast(column, start), from = start + task.lookback;
        for (let h = 0; h < y.length; h++) sum += (y[h] - column[from + h]) ** 2;
        count += y.length;
      }
    }
    return sum / count;
  }

  return { MOST, RIDGES, parseCsv, makeTask, starts, strideOf, moments, spectra, fit, predict, repeat, error };
})();

if (typeof module !== "undefined") module.exports = Forecast;
