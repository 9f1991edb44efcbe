// Colour profiles: the network sees sRGB, people keep their own space. Profiles of curves and a matrix (Display P3, Adobe
// RGB, ProPhoto and those of cameras), and grey ones of a curve. In 8 bit.

import { standsAt, view } from "./bytes.js";

const SAME_COLOURS = 2; // levels of 255 by which a profile may differ from sRGB and still count as sRGB
const SRGB = [ // to XYZ, adapted to the white of profiles, D50
  [0.4360747, 0.3850649, 0.1430804],
  [0.2225045, 0.7168786, 0.0606169],
  [0.0139322, 0.0971045, 0.7141733],
];
const FINE = 4095; // steps of tables from linear light

/** What a profile asks for. @returns {{space: object|null, unknown: boolean}} null: it is sRGB, or not known here */
export function colourSpace(profile, grey) {
  if (!profile || !standsAt(profile, 16, grey ? "GRAY" : "RGB ")) return { space: null, unknown: false };
  try {
    const space = grey ? new GreySpace(profile) : new MatrixSpace(profile);
    return { space: isSrgb(space, grey) ? null : space, unknown: false };
  } catch (error) {
    if (error instanceof RangeError) return { space: null, unknown: true };
    throw error;
  }
}

/** Conversion between the RGB space of a profile and sRGB; RGBA bytes, in place. */
class MatrixSpace {
  constructor(profile) {
    const tags = tagsOf(profile);
    if (["A2B0", "A2B1", "A2B2", "D2B0"].some((name) => name in tags)) throw new RangeError("a profile of tables");
    const columns = ["rXYZ", "gXYZ", "bXYZ"].map((name) => xyz(tags[name]));
    const own = [0, 1, 2].map((row) => columns.map((column) => column[row]));
    const curves = ["rTRC", "gTRC", "bTRC"].map((name) => curve(tags[name]));
    this.to = new Through(curves, multiplied(inverse(SRGB), own), [encode, encode, encode]);
    this.from = new Through([decode, decode, decode], multiplied(inverse(own), SRGB), curves.map(inverted));
  }

  toSrgb(pixels) { this.to.convert(pixels); }

  fromSrgb(pixels) { this.from.convert(pixels); }
}

/** Conversion between the grey of a profile and that of sRGB. */
class GreySpace {
  constructor(profile) {
    const own = curve(tagsOf(profile).kTRC);
    this.to = levels((value) => encode(own(value)));
    this.from = levels((value) => inverted(own)(decode(value)));
  }

  toSrgb(pixels) { looked(pixels, this.to); }

  fromSrgb(pixels) { looked(pixels, this.from); }
}

class Through {
  constructor(decoders, matrix, encoders) {
    this.decoders = decoders.map((one) => Float32Array.from({ length: 256 }, (_, level) => one(level / 255)));
    this.encoders = encoders.map((one) => Uint8ClampedArray.from({ length: FINE + 1 }, (_, step) => 255 * one(step / FINE)));
    this.matrix = matrix.flat();
  }

  convert(pixels) {
    const [red, green, blue] = this.decoders;
    const m = this.matrix;
    for (let place = 0; place < pixels.length; place += 4) {
      const [r, g, b] = [red[pixels[place]], green[pixels[place + 1]], blue[pixels[place + 2]]];
      for (let channel = 0; channel < 3; channel += 1) {
        const light = m[3 * channel] * r + m[3 * channel + 1] * g + m[3 * channel + 2] * b;
        pixels[place + channel] = this.encoders[channel][Math.round(FINE * Math.min(1, Math.max(0, light)))];
      }
    }
  }
}

function isSrgb(space, grey) {
  const steps = grey ? 256 : 9;
  const lattice = [];
  for (let index = 0; index < (grey ? steps : steps ** 3); index += 1) {
    const parts = grey ? [index, index, index] : [index % 9, Math.trunc(index / 9) % 9, Math.trunc(index / 81)];
    lattice.push(...parts.map((part) => Math.round((255 * part) / (steps - 1))), 255);
  }
  const before = Uint8ClampedArray.from(lattice), after = before.slice();
  space.toSrgb(after);
  return after.every((level, place) => Math.abs(level - before[place]) <= SAME_COLOURS);
}

function tagsOf(profile) {
  const numbers = view(profile);
  const count = Math.min(200, numbers.getUint32(128));
  const found = {};
  for (let row = 132; row < 132 + 12 * count; row += 12) {
    const name = String.fromCharCode(...profile.subarray(row, row + 4));
    const place = numbers.getUint32(row + 4);
    found[name] = profile.subarray(place, place + numbers.getUint32(row + 8));
  }
  return found;
}

const fixed = (numbers, place) => numbers.getInt32(place) / 65536;

function xyz(tag) {
  if (!tag || !standsAt(tag, 0, "XYZ ")) throw new RangeError("no matrix");
  return [8, 12, 16].map((place) => fixed(view(tag), place));
}

/** From a curve of a profile (ICC.1:2022, 10.6 and 10.18) to a function from a level to linear light, both in [0, 1]. */
function curve(tag) {
  if (tag && standsAt(tag, 0, "para")) return parametric(view(tag));
  if (!tag || !standsAt(tag, 0, "curv")) throw new RangeError("no curve");
  const numbers = view(tag);
  const count = numbers.getUint32(8);
  if (count === 0) return (value) => value;
  if (count === 1) return (value) => value ** (numbers.getUint16(12) / 256);
  const table = Float64Array.from({ length: count }, (_, index) => numbers.getUint16(12 + 2 * index) / 65535);
  return (value) => {
    const at = Math.min(1, Math.max(0, value)) * (count - 1);
    const below = Math.min(count - 2, Math.floor(at));
    return table[below] + (at - below) * (table[below + 1] - table[below]);
  };
}

function parametric(numbers) {
  const kind = numbers.getUint16(8);
  if (kind > 4) throw new RangeError("a curve of no known kind");
  const [g, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from(
    { length: [1, 3, 4, 5, 7][kind] }, (_, index) => fixed(numbers, 12 + 4 * index),
  );
  const power = (value) => Math.max(0, a * value + b) ** g;
  if (kind === 0) return (value) => value ** g;
  if (kind === 1) return (value) => (value >= -b / a ? power(value) : 0);
  if (kind === 2) return (value) => (value >= -b / a ? power(value) : 0) + c;
  return (value) => (value >= d ? power(value) + e : c * value + f);
}

/** The inverse of a rising function of [0, 1], by a table. */
function inverted(rising) {
  const table = Float64Array.from({ length: FINE + 1 }, (_, step) => rising(step / FINE));
  return (light) => {
    let [low, high] = [0, FINE];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (table[middle] <= light) low = middle; else high = middle;
    }
    const rise = table[high] - table[low];
    return (low + (rise > 0 ? Math.min(1, Math.max(0, (light - table[low]) / rise)) : 0)) / FINE;
  };
}

const levels = (change) => Uint8ClampedArray.from({ length: 256 }, (_, level) => 255 * change(level / 255));

function looked(pixels, table) {
  for (let place = 0; place < pixels.length; place += 4) {
    pixels[place] = pixels[place + 1] = pixels[place + 2] = table[pixels[place]];
  }
}

const decode = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const encode = (light) => (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055);

const multiplied = (a, b) => a.map((row) => [0, 1, 2].map((column) => row.reduce((sum, value, k) => sum + value * b[k][column], 0)));

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const cofactors = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ];
  const determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0];
  if (!determinant) throw new RangeError("a matrix without an inverse");
  return cofactors.map((row) => row.map((value) => value / determinant));
}
