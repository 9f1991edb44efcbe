// From what the network says of a reduced copy to what full resolution needs; see stripes_of_fitted in
// dereflect.inference.stripes.

const WINDOW = 2; // radius, in pixels of the copy, of the windows in which it is asked whose detail it is
const FAINTEST = 0.5 / 255; // mean change of what the network sees, of 1, below which no reflection was found
const FLAT = 0.01; // contrast, of 1, below which a window is flat: its grain then stays with the transmission

/** Numbers a pixel of `Maps`: what is taken away, the reflection, the copy (three each), and two shares of detail. */
export const PLANES = 11;

/**
 * What full resolution needs, as 11 planes: removed, reflection and copy (3 each), and the shares of the finest detail
 * that go with what is removed and with the reflection.
 *
 * @param {Float32Array} small 3 planes of the copy, sRGB in [0, 1]
 * @param {Float32Array} transmission
 * @param {Float32Array} reflection
 * @returns {{height: number, width: number, values: Float32Array}}
 */
export function makeMaps(small, transmission, reflection, height, width) {
  const size = height * width;
  const values = new Float32Array(PLANES * size);
  for (let index = 0; index < 3 * size; index += 1) values[index] = small[index] - transmission[index];
  values.set(reflection, 3 * size);
  values.set(small, 6 * size);
  values.set(detailShare(small, values.subarray(0, 3 * size), height, width), 9 * size);
  values.set(detailShare(small, reflection, height, width), 10 * size);
  return { height, width, values };
}

/** Whether the network changed what it saw: by half a level of 255 or more, on the mean. */
export function isChanged({ height, width, values }) {
  const count = 3 * height * width;
  let sum = 0;
  for (let index = 0; index < count; index += 1) sum += Math.abs(values[index]);
  return sum / count >= FAINTEST;
}

/** What share of the finest detail of `guide` a layer follows, in [0, 1]; one plane. */
export function detailShare(guide, layer, height, width) {
  const size = height * width;
  const covariance = new Float64Array(size), variance = new Float64Array(size);
  for (let plane = 0; plane < 3; plane += 1) {
    const fine = [guide, layer].map((values) => {
      const own = Float64Array.from(values.subarray(plane * size, (plane + 1) * size));
      const mean = means(own, height, width, 1);
      return own.map((value, index) => value - mean[index]);
    });
    for (let index = 0; index < size; index += 1) {
      covariance[index] += fine[0][index] * fine[1][index];
      variance[index] += fine[0][index] ** 2;
    }
  }
  const both = [covariance, variance].map((values) => means(values, height, width, WINDOW));
  return Float32Array.from({ length: size }, (_, index) => {
    const share = Math.min(1, Math.max(0, both[0][index] / (both[1][index] + 3 * FLAT ** 2)));
    return share * share * (3 - 2 * share); // a small share is chance: it would only blur the scene
  });
}

/** Means over windows of side 2 radius + 1, borders continued. */
function means(values, height, width, radius) {
  const across = new Float64Array(values.length), found = new Float64Array(values.length);
  const within = (place, length) => Math.min(length - 1, Math.max(0, place));
  const side = 2 * radius + 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let sum = 0;
      for (let step = -radius; step <= radius; step += 1) sum += values[y * width + within(x + step, width)];
      across[y * width + x] = sum;
    }
  }
  for (let y = 0; y < height; y += 1) {
    for (let step = -radius; step <= radius; step += 1) {
      const row = within(y + step, height) * width;
      for (let x = 0; x < width; x += 1) found[y * width + x] += across[row + x];
    }
  }
  for (let index = 0; index < found.length; index += 1) found[index] /= side * side;
  return found;
}

/** Gives rows of planes enlarged bilinearly, as by area: `row(y)` is one array, plane after plane. */
export class Enlarger {
  /**
   * @param {{height: number, width: number, values: Float32Array}} maps
   * @param {number} height of the full picture
   * @param {number} width
   */
  constructor(maps, height, width) {
    this.maps = maps;
    this.planes = maps.values.length / (maps.height * maps.width);
    this.down = steps(maps.height, height);
    this.across = steps(maps.width, width);
    this.width = width;
    this.mixed = new Float32Array(maps.width);
    this.found = new Float32Array(this.planes * width);
  }

  /** Row `y` of the full picture: plane after plane, `width` numbers each. Good until the next call. */
  row(y) {
    const { maps, mixed, found, width } = this;
    const { above, below, share } = this.across;
    const weight = this.down.share[y];
    for (let plane = 0; plane < this.planes; plane += 1) {
      const first = (plane * maps.height + this.down.above[y]) * maps.width;
      const second = (plane * maps.height + this.down.below[y]) * maps.width;
      for (let x = 0; x < maps.width; x += 1) {
        mixed[x] = maps.values[first + x] + weight * (maps.values[second + x] - maps.values[first + x]);
      }
      const to = plane * width;
      for (let x = 0; x < width; x += 1) found[to + x] = mixed[above[x]] + share[x] * (mixed[below[x]] - mixed[above[x]]);
    }
    return found;
  }
}

function steps(length, wanted) {
  const above = new Int32Array(wanted), below = new Int32Array(wanted), share = new Float32Array(wanted);
  for (let place = 0; place < wanted; place += 1) {
    const at = Math.min(length - 1, Math.max(0, (place + 0.5) * (length / wanted) - 0.5));
    above[place] = Math.floor(at);
    below[place] = Math.min(length - 1, above[place] + 1);
    share[place] = at - above[place];
  }
  return { above, below, share };
}
