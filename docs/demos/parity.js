// A causal mixing in a frame that its tokens turn: the recurrence of `resonance.TurningMixing`, turns="plane" (eq:turning).
//   phase <- phase + W x (mod 1),   s <- lambda s + F' x,   y = F [b F' x + Re sum_j c_j s_j + a]
// F turns pairs of channels by the phase of their head.  On a grid, angles are whole multiples of a turn / grid, and the sum
// is one of integers.
"use strict";

const Turning = (() => {
  // layer: {turn: heads x dim, grid (0: none), poles: k x [re, im], readout: dim x k x [re, im] (c_j of unit energy),
  // direct: dim, anchor: dim}.  A state is {phase: heads numbers, s: dim x k x [re, im]}.
  function initialState({ turn, poles, direct }) {
    return { phase: turn.map(() => 0), s: direct.map(() => poles.map(() => [0, 0])) };
  }

  const wrap = (phase) => phase - Math.floor(phase);

  function roundEven(v) { // halves to even, as torch rounds
    const r = Math.round(v);
    return Math.abs(v % 1) === 0.5 && r % 2 ? r - 1 : r;
  }

  // The phases after a token x, in cycles, one a head.
  function frame({ turn, grid }, x, phase) {
    return phase.map((before, head) => {
      const angle = turn[head].reduce((sum, w, c) => sum + w * x[c], 0);
      if (!grid) return wrap(before + angle);
      return (((Math.round(before * grid) + roundEven(angle * grid)) % grid) + grid) % grid / grid;
    });
  }

  // F x, or F' x (way = -1): each head turns its pairs of channels by its phase.
  function turned(x, phase, way) {
    const out = x.slice(), each = x.length / phase.length;
    for (let c = 0; c < x.length; c += 2) {
      const angle = way * 2 * Math.PI * phase[Math.floor(c / each)], [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      out[c] = x[c] * cos - x[c + 1] * sin;
      out[c + 1] = x[c] * sin + x[c + 1] * cos;
    }
    return out;
  }

  // One token: y and the next state.
  function step(layer, x, state) {
    const phase = frame(layer, x, state.phase), u = turned(x, phase, -1);
    const s = state.s.map((channel, c) =>
      channel.map(([re, im], j) => {
        const [a, b] = layer.poles[j];
        return [a * re - b * im + u[c], a * im + b * re];
      }));
    const mixed = u.map((v, c) =>
      s[c].reduce((sum, [re, im], j) => sum + layer.readout[c][j][0] * re - layer.readout[c][j][1] * im,
        layer.direct[c] * v + layer.anchor[c]));
    return { y: turned(mixed, phase, 1), state: { phase, s } };
  }

  function run(layer, tokens) {
    let state = initialState(layer);
    return tokens.map((x) => {
      const next = step(layer, x, state);
      state = next.state;
      return next.y;
    });
  }

  // Two channels, one head: a token (1, bit) turns the frame by `angle` cycles where the bit is one; y is the anchor (1, 0)
  // turned by the phase, beside nothing else.
  const counter = (angle, grid) => ({
    turn: [[0, angle]], grid, poles: [[0, 0]], readout: [[[0, 0]], [[0, 0]]], direct: [0, 0], anchor: [1, 0],
  });

  return { initialState, frame, step, run, counter };
})();

if (typeof module !== "undefined") module.exports = Turning;
