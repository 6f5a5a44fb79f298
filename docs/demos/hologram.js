// Patterns in one real hologram, one carrier each, as `artifact.studies.holographic_capacity.holography.IntensityHologram`
// on plane waves of carriers 1 .. n (eq:hologram), in float64.  Up to the limit `HolographicMemory` reads the same.
"use strict";

const Hologram = (() => {
  // The limit for complex patterns (thm:limit): of each pair of carriers {f, X - f} one, neither DC nor X/2.
  const capacity = (aperture) => Math.floor((aperture - 1) / 2);

  // Reference R_f[x] = exp(2 pi i f x / X): {re, im}, X numbers each.
  function reference(f, aperture) {
    const turn = (x) => (2 * Math.PI * ((f * x) % aperture)) / aperture;
    return {
      re: Float64Array.from({ length: aperture }, (_, x) => Math.cos(turn(x))),
      im: Float64Array.from({ length: aperture }, (_, x) => Math.sin(turn(x))),
    };
  }

  // H[y, x] = sum_i |P_i[y] + R_i[x]|^2, for patterns {re, im} of dim numbers: dim rows of X.
  function record(patterns, aperture) {
    const dim = patterns.length ? patterns[0].re.length : 0;
    const hologram = Array.from({ length: dim }, () => new Float64Array(aperture));
    patterns.forEach((pattern, i) => {
      const wave = reference(i + 1, aperture);
      hologram.forEach((row, y) => {
        for (let x = 0; x < aperture; x++) row[x] += (pattern.re[y] + wave.re[x]) ** 2 + (pattern.im[y] + wave.im[x]) ** 2;
      });
    });
    return hologram;
  }

  // The pattern on carrier f: (1/X) sum_x H[y, x] R_f[x], {re, im}.
  function read(hologram, f) {
    const aperture = hologram[0].length, wave = reference(f, aperture);
    const product = (part) =>
      Float64Array.from(hologram, (row) => row.reduce((sum, h, x) => sum + h * part[x], 0) / aperture);
    return { re: product(wave.re), im: product(wave.im) };
  }

  // |read - patterns| / |patterns|, over all entries.
  function error(found, patterns) {
    let off = 0, size = 0;
    patterns.forEach((pattern, i) => {
      for (let y = 0; y < pattern.re.length; y++) {
        off += (found[i].re[y] - pattern.re[y]) ** 2 + (found[i].im[y] - pattern.im[y]) ** 2;
        size += pattern.re[y] ** 2 + pattern.im[y] ** 2;
      }
    });
    return Math.sqrt(off / size);
  }

  // Error expected past the limit for patterns of equal power (eq:tradeoff without noise).
  const expected = (n, aperture) => Math.sqrt(Math.max(0, 2 * n - aperture + 1) / n);

  return { capacity, record, read, error, expected };
})();

if (typeof module !== "undefined") module.exports = Hologram;
