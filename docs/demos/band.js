// The band of a sequence, and the information that it keeps.
// Same computations as `resonance.analysis`, `resonance.synthesis` (eq:analysis, eq:synthesis) and
// `artifact.studies.information.information.transmitted_information` (eq:gaussian), in float64.
"use strict";

const Band = (() => {
  // c of eq:layer, how often a frequency occurs in the full spectrum: 1 at DC and Nyquist, else 2.
  const multiplicity = (f, grid) => (f === 0 || 2 * f === grid ? 1 : 2);

  const angle = (f, t, grid) => (2 * Math.PI * ((f * t) % grid)) / grid; // reduced exactly, as integers

  // X_f = N^(-1/2) sum_t x_t exp(-2 pi i f t / N), f < k, of a real sequence: {re, im}, k numbers each.
  function analysis(x, k, grid) {
    const re = new Float64Array(k), im = new Float64Array(k);
    for (let f = 0; f < k; f++) {
      for (let t = 0; t < x.length; t++) {
        re[f] += x[t] * Math.cos(angle(f, t, grid));
        im[f] -= x[t] * Math.sin(angle(f, t, grid));
      }
      re[f] /= Math.sqrt(grid);
      im[f] /= Math.sqrt(grid);
    }
    return { re, im };
  }

  // y_t = N^(-1/2) sum_f c_f Re[Y_f exp(2 pi i f t / N)]: n samples.
  function synthesis({ re, im }, n, grid) {
    return Float64Array.from({ length: n }, (_, t) => {
      let sum = 0;
      for (let f = 0; f < re.length; f++) {
        const turn = angle(f, t, grid), inner = multiplicity(f, grid) === 2 ? im[f] * Math.sin(turn) : 0;
        sum += multiplicity(f, grid) * (re[f] * Math.cos(turn) - inner);
      }
      return sum / Math.sqrt(grid);
    });
  }

  // Orthonormal real rows that span the band's, by rising frequency: cosine and sine of each, one row at DC and Nyquist.
  function rows(n) {
    const found = [];
    for (let f = 0; 2 * f <= n; f++) {
      const c = multiplicity(f, n), scale = Math.sqrt(c / n);
      found.push(Float64Array.from({ length: n }, (_, t) => scale * Math.cos(angle(f, t, n))));
      if (c === 2) found.push(Float64Array.from({ length: n }, (_, t) => scale * Math.sin(angle(f, t, n))));
    }
    return found;
  }

  // Lower triangular L with L L' = a, of a positive definite matrix: an array of rows.
  function cholesky(a) {
    const l = a.map((row) => new Float64Array(row.length));
    for (let i = 0; i < a.length; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = a[i][j];
        for (let m = 0; m < j; m++) sum -= l[i][m] * l[j][m];
        if (i === j && !(sum > 0)) throw new Error("expected a positive definite matrix");
        l[i][j] = i === j ? Math.sqrt(sum) : sum / l[j][j];
      }
    }
    return l;
  }

  // Covariance of an AR(1) signal of unit power, rho^|i - j|, n x n.
  const ar1 = (n, rho) =>
    Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (_, j) => rho ** Math.abs(i - j)));

  // Covariance of a periodic signal of unit power, its spectrum in proportion to power(f).
  function circulant(n, power) {
    const row = Float64Array.from({ length: n }, (_, t) => {
      let sum = 0;
      for (let f = 0; f < n; f++) sum += power(Math.min(f, n - f)) * Math.cos(angle(f, t, n));
      return sum;
    });
    return Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (_, j) => row[(i - j + n) % n] / row[0]));
  }

  const SIGNALS = {
    "AR(1), 0.9": (n) => ar1(n, 0.9),
    "1/f": (n) => circulant(n, (f) => 1 / Math.max(f, 1)),
    white: (n) => circulant(n, () => 1),
    "band |f| < n/8": (n) => circulant(n, (f) => +(f < n / 8)),
  };

  // Power of white noise at a signal-to-noise ratio in decibels, for a signal of unit power.
  const noisePower = (snrDb) => 10 ** (-snrDb / 10);

  // Bits that the k lowest frequencies of signal + white noise have about the signal, for k = 1 .. n/2 + 1:
  // 1/2 log2 det Q (K + N) Q' / det Q N Q'.  Bands are nested, so that one Cholesky factor has every determinant.
  function information(covariance, noise) {
    const n = covariance.length, q = rows(n);
    const qk = q.map((row) => covariance.map((column) => column.reduce((sum, v, t) => sum + v * row[t], 0)));
    const sum = q.map((_, i) => q.map((row, j) => qk[i].reduce((s, v, t) => s + v * row[t], i === j ? noise : 0)));
    const l = cholesky(sum), bits = [];
    for (let f = 0, row = 0, total = 0; 2 * f <= n; f++) {
      for (let c = multiplicity(f, n); c > 0; c--, row++) total += Math.log2(l[row][row] / Math.sqrt(noise));
      bits.push(total);
    }
    return bits;
  }

  // A sample of a signal of that covariance, from standard normal numbers; 1e-9 for those that are singular.
  function sample(covariance, normal) {
    const l = cholesky(covariance.map((row, i) => row.map((v, j) => v + (i === j ? 1e-9 : 0))));
    const z = l.map(() => normal());
    return Float64Array.from(l, (row) => row.reduce((sum, v, i) => sum + v * z[i], 0));
  }

  return { SIGNALS, analysis, synthesis, multiplicity, noisePower, information, sample };
})();

if (typeof module !== "undefined") module.exports = Band;
