// Small charts as SVG, drawn anew whenever their box changes its width, so that text keeps its size.
"use strict";

const Plot = (() => {
  const COLOURS = ["#005f99", "#b34700", "#3d7a34", "#6b4fa0"];
  const HEIGHT = 220, LEFT = 52, BOTTOM = 36, TOP = 10, RIGHT = 10;

  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((s) => s * power >= rough);
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(+(at * step).toPrecision(6));
    return found;
  }

  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  function svg(width, label, inside) {
    return `<svg role="img" aria-label="${escaped(label)}" width="${width}" height="${HEIGHT}" xmlns="http://www.w3.org/2000/svg">`
      + `${inside}</svg>`;
  }

  // options: label (what the chart shows, in words), x and y (titles of the axes), lines: [{x, y, name, bars, dashed}],
  // shade: [from, to] along x, and ylim: [low, high] where the range of the lines is not wanted.
  function chart(box, options) {
    const draw = () => {
      const width = Math.max(box.clientWidth, 240), lines = options.lines;
      const xs = lines.flatMap((l) => Array.from(l.x)), ys = lines.flatMap((l) => Array.from(l.y));
      let [x0, x1] = [Math.min(...xs), Math.max(...xs)], [y0, y1] = options.ylim || [Math.min(...ys), Math.max(...ys)];
      if (x0 === x1) x1 += 1;
      if (y0 === y1) [y0, y1] = [y0 - 1, y1 + 1];
      const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (width - LEFT - RIGHT);
      const py = (y) => TOP + ((y1 - Math.min(Math.max(y, y0), y1)) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
      let out = "";
      if (options.shade) {
        const [from, to] = options.shade.map((x) => px(Math.min(Math.max(x, x0), x1)));
        out += `<rect x="${from}" y="${TOP}" width="${to - from}" height="${HEIGHT - TOP - BOTTOM}" fill="#dcebf5"/>`;
      }
      for (const x of ticks(x0, x1, width / 110)) {
        out += `<text x="${px(x)}" y="${HEIGHT - BOTTOM + 15}" text-anchor="middle">${x}</text>`;
      }
      for (const y of ticks(y0, y1, 4)) {
        out += `<path d="M${LEFT} ${py(y)}H${width - RIGHT}" stroke="#ddd"/>`
          + `<text x="${LEFT - 6}" y="${py(y) + 4}" text-anchor="end">${y}</text>`;
      }
      lines.forEach((line, at) => {
        const stroke = `stroke="${line.colour || COLOURS[at]}" fill="none" stroke-width="1.6"`;
        const points = Array.from(line.x, (x, i) => [px(x).toFixed(1), py(line.y[i]).toFixed(1)]);
        const path = line.bars
          ? points.map(([x, y]) => `M${x} ${py(Math.max(y0, 0)).toFixed(1)}V${y}`).join("")
          : "M" + points.map((p) => p.join(" ")).join("L");
        out += `<path d="${path}" ${stroke}${line.dashed ? ' stroke-dasharray="5 4"' : ""}/>`;
      });
      out += `<text x="${(LEFT + width) / 2}" y="${HEIGHT - 4}" text-anchor="middle">${escaped(options.x)}</text>`
        + `<text transform="translate(12 ${HEIGHT / 2 - 10}) rotate(-90)" text-anchor="middle">${escaped(options.y)}</text>`;
      const names = lines.filter((l) => l.name);
      const key = names.map((l) => `<span><i style="background:${l.colour || COLOURS[lines.indexOf(l)]}"></i>${l.name}</span>`);
      box.innerHTML = svg(width, options.label, out) + `<p class="key">${key.join(" ")}</p>`;
    };
    draw();
    if (!box.watched) {
      let width = box.clientWidth; // a change of height alone is our own drawing
      box.watched = new ResizeObserver(() => {
        if (box.clientWidth !== width) { width = box.clientWidth; box.redraw(); }
      });
      box.watched.observe(box);
    }
    box.redraw = draw;
  }

  // A grey picture of values (rows of numbers) on a canvas, scaled by nearest neighbours; dark is the largest value.
  function picture(canvas, values, rows, columns, low, high) {
    canvas.width = columns;
    canvas.height = rows;
    const image = new ImageData(columns, rows);
    for (let at = 0; at < rows * columns; at++) {
      const grey = 255 * (1 - (values[at] - low) / (high - low || 1));
      image.data.set([grey, grey, grey, 255], 4 * at);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // Standard normal numbers from a seed: mulberry32 and Box-Muller.
  function normal(seed) {
    const uniform = () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  return { chart, picture, normal };
})();
