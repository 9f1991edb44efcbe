// Smaller copies of a photo, every pixel counted: bicubic with antialiasing, as Pillow does it in 8 bit.

const PRECISION = 2 ** 22;

/** Keys' cubic with a = -0.5. */
function cubic(x) {
  const a = Math.abs(x);
  if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
  return a < 2 ? ((-0.5 * a + 2.5) * a - 4) * a + 2 : 0;
}

/** For each place of a side reduced from `length` to `wanted`: where its pixels begin, and their weights. */
export function weightsOf(length, wanted, precision = PRECISION) {
  const scale = length / wanted;
  const stretch = Math.max(1, scale);
  const support = 2 * stretch;
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const stop = Math.min(length, Math.trunc(centre + support + 0.5));
    const values = new Float64Array(stop - start);
    for (let index = 0; index < values.length; index += 1) values[index] = cubic((index + start - centre + 0.5) / stretch);
    const sum = values.reduce((total, value) => total + value, 0);
    for (let index = 0; index < values.length; index += 1) {
      const share = values[index] / sum;
      values[index] = precision ? Math.round(share * precision) / precision : share;
    }
    return { start, values };
  });
}

/**
 * A photo reduced to height x width, as RGB bytes.
 *
 * @param {{height: number, width: number, stripe: number, rows: (start: number, stop: number) => Uint8ClampedArray}} photo
 *   gives rows as RGBA bytes
 * @param {number} height of the copy
 * @param {number} width
 */
export function reduced(photo, height, width) {
  const across = weightsOf(photo.width, width);
  const narrow = new Uint8ClampedArray(photo.height * width * 3); // rounded between the passes, as Pillow does
  for (let start = 0; start < photo.height; start += photo.stripe) {
    const stop = Math.min(photo.height, start + photo.stripe);
    const rows = photo.rows(start, stop);
    for (let row = start; row < stop; row += 1) narrowRow(rows, (row - start) * photo.width * 4, narrow, row * width * 3, across);
  }
  return flatten(narrow, photo.height, height, width);
}

function narrowRow(source, from, target, to, across) {
  for (let x = 0; x < across.length; x += 1) {
    const { start, values } = across[x];
    let place = from + start * 4;
    let red = 0, green = 0, blue = 0;
    for (let index = 0; index < values.length; index += 1, place += 4) {
      const weight = values[index];
      red += weight * source[place];
      green += weight * source[place + 1];
      blue += weight * source[place + 2];
    }
    target[to + 3 * x] = red;
    target[to + 3 * x + 1] = green;
    target[to + 3 * x + 2] = blue;
  }
}

function flatten(narrow, length, height, width) {
  const small = new Uint8ClampedArray(height * width * 3);
  const sums = new Float64Array(width * 3);
  weightsOf(length, height).forEach(({ start, values }, y) => {
    sums.fill(0);
    values.forEach((weight, index) => {
      const from = (start + index) * width * 3;
      for (let place = 0; place < sums.length; place += 1) sums[place] += weight * narrow[from + place];
    });
    small.set(sums, y * width * 3);
  });
  return small;
}
