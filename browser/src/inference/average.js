// The thorough look: the photo as it is and mirrored, at its size and reduced, and the mean of what is taken away; as
// dereflect.inference.run does it for quality="best".

import { rounded } from "./plan.js";
import { weightsOf } from "./resize.js";

const SCALES = [1, 0.75];
const PLANES = 3;

/**
 * @param {(small: Float32Array, height: number, width: number) => Promise<{transmission, reflection}>} once
 * @param {Float32Array} small 3 planes in [0, 1]
 * @param {(done: number, total: number) => void} tell
 */
export async function averaged(once, small, height, width, tell) {
  const removed = new Float32Array(small.length), reflected = new Float32Array(small.length);
  const copies = SCALES.flatMap((scale) => [false, true].map((mirrored) => ({ scale, mirrored })));
  for (const [number, { scale, mirrored }] of copies.entries()) {
    tell(number, copies.length);
    let copy = mirrored ? flipped(small, width) : small;
    const [rows, columns] = [height, width].map((side) => Math.max(1, rounded(side * scale)));
    if (scale !== 1) copy = clamped(resized(copy, height, width, weightsOf(height, rows, 0), weightsOf(width, columns, 0)));
    const { transmission, reflection } = await once(copy, rows, columns);
    // What a smaller copy takes away is enlarged, not the smaller copy itself: detail stays.
    for (const [total, layer] of [[removed, copy.map((value, index) => value - transmission[index])], [reflected, reflection]]) {
      let full = layer;
      if (scale !== 1) full = resized(layer, rows, columns, enlarging(rows, height), enlarging(columns, width));
      if (mirrored) full = flipped(full, width);
      for (let index = 0; index < total.length; index += 1) total[index] += full[index] / copies.length;
    }
  }
  return {
    transmission: clamped(small.map((value, index) => value - removed[index])),
    reflection: clamped(reflected),
  };
}

const clamped = (values) => values.map((value) => Math.min(1, Math.max(0, value)));

const flipped = (values, width) => values.map((_, index) => {
  const x = index % width;
  return values[index - x + width - 1 - x];
});

/** Weights of bicubic enlargement without antialiasing, a = -0.75, borders continued: as torch does it. */
function enlarging(length, wanted) {
  const near = (x) => ((1.25 * x - 2.25) * x) * x + 1;
  const far = (x) => ((-0.75 * x + 3.75) * x - 6) * x + 3;
  return Array.from({ length: wanted }, (_, place) => {
    const at = (place + 0.5) * (length / wanted) - 0.5;
    const first = Math.floor(at), share = at - first;
    const start = Math.min(length - 1, Math.max(0, first - 1));
    const stop = Math.min(length - 1, Math.max(0, first + 2));
    const values = new Float64Array(stop - start + 1);
    [far(share + 1), near(share), near(1 - share), far(2 - share)].forEach((weight, index) => {
      values[Math.min(length - 1, Math.max(0, first - 1 + index)) - start] += weight;
    });
    return { start, values };
  });
}

function resized(values, height, width, down, across) {
  const rows = down.length, columns = across.length;
  const found = new Float32Array(PLANES * rows * columns);
  const narrow = new Float32Array(height * columns);
  for (let plane = 0; plane < PLANES; plane += 1) {
    for (let y = 0; y < height; y += 1) {
      const from = (plane * height + y) * width;
      for (let x = 0; x < columns; x += 1) {
        const { start, values: weights } = across[x];
        let sum = 0;
        for (let index = 0; index < weights.length; index += 1) sum += weights[index] * values[from + start + index];
        narrow[y * columns + x] = sum;
      }
    }
    for (let y = 0; y < rows; y += 1) {
      const { start, values: weights } = down[y];
      for (let x = 0; x < columns; x += 1) {
        let sum = 0;
        for (let index = 0; index < weights.length; index += 1) sum += weights[index] * narrow[(start + index) * columns + x];
        found[(plane * rows + y) * columns + x] = sum;
      }
    }
  }
  return found;
}
