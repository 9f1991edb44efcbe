// JPEG at quality 95 without chroma subsampling, as the command writes it; eight rows at a time, so that no copy of the
// whole picture is held. (A canvas would be limited in size, and would subsample.)

import { ascii, joined, view } from "./bytes.js";
import { HUFFMAN, ZIGZAG, codesOf, quantisation } from "./jpeg_tables.js";

const QUALITY = 95;
const LONGEST_SEGMENT = 65_500; // bytes of EXIF or XMP that one segment holds, its marker apart
const PROFILE_PART = 65_519;
const CODES = HUFFMAN.map(codesOf);
const DIVISORS = quantisation(QUALITY);

/** Writes a picture of one (grey) or three channels; transparency is left out. */
export class JpegWriter {
  /**
   * @param {number} width
   * @param {number} height
   * @param {number} channels 1 or 3
   * @param {{exif, icc, xmp, dpi}} known metadata of the upright picture
   */
  constructor(width, height, channels, known) {
    this.width = width;
    this.channels = channels;
    this.parts = [joined(head(width, height, channels, known))];
    this.bits = new Bits();
    this.before = [0, 0, 0];
    this.rest = new Uint8ClampedArray(0);
    this.reciprocals = DIVISORS.map(reciprocals);
    this.blocks = Array.from({ length: channels }, () => new Float32Array(64));
  }

  /** Add rows, as RGBA bytes. */
  add(pixels) {
    const row = 4 * this.width;
    let all = pixels;
    if (this.rest.length) {
      all = new Uint8ClampedArray(this.rest.length + pixels.length);
      all.set(this.rest);
      all.set(pixels, this.rest.length);
    }
    const whole = all.length - (all.length % (8 * row));
    for (let from = 0; from < whole; from += 8 * row) this.band(all, from, 8);
    this.rest = all.slice(whole);
    this.parts.push(this.bits.taken());
  }

  /** The file. */
  finish() {
    if (this.rest.length) this.band(this.rest, 0, this.rest.length / (4 * this.width));
    this.bits.end();
    this.parts.push(this.bits.taken(), Uint8Array.of(0xff, 0xd9));
    return new Blob(this.parts, { type: "image/jpeg" });
  }

  band(pixels, from, rows) {
    for (let left = 0; left < this.width; left += 8) {
      this.fill(pixels, from, left, rows);
      for (let channel = 0; channel < this.channels; channel += 1) {
        transform(this.blocks[channel]);
        this.write(this.blocks[channel], channel);
      }
    }
  }

  /** The components of a block, -128 to 127; the picture's edge is continued. */
  fill(pixels, from, left, rows) {
    const [first, second, third] = this.blocks;
    for (let y = 0; y < 8; y += 1) {
      const row = from + 4 * this.width * Math.min(y, rows - 1);
      for (let x = 0; x < 8; x += 1) {
        const at = row + 4 * Math.min(left + x, this.width - 1);
        const red = pixels[at], to = 8 * y + x;
        if (this.channels === 1) {
          first[to] = red - 128;
          continue;
        }
        const green = pixels[at + 1], blue = pixels[at + 2];
        first[to] = Math.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5) - 128;
        second[to] = Math.floor(0.5 * blue - 0.168736 * red - 0.331264 * green + 0.5);
        third[to] = Math.floor(0.5 * red - 0.418688 * green - 0.081312 * blue + 0.5);
      }
    }
  }

  write(block, channel) {
    const chroma = channel > 0 ? 1 : 0;
    const scale = this.reciprocals[chroma];
    const [dc, ac] = [CODES[2 * chroma], CODES[2 * chroma + 1]];
    const first = rounded(block[0] * scale[0]);
    const change = first - this.before[channel];
    this.before[channel] = first;
    const size = magnitude(change);
    this.bits.put(dc.codes[size], dc.lengths[size]);
    if (size) this.bits.put(change < 0 ? change + (1 << size) - 1 : change, size);
    let zeros = 0;
    for (let index = 1; index < 64; index += 1) {
      const place = ZIGZAG[index];
      const value = rounded(block[place] * scale[place]);
      if (value === 0) {
        zeros += 1;
        continue;
      }
      for (; zeros > 15; zeros -= 16) this.bits.put(ac.codes[0xf0], ac.lengths[0xf0]);
      const bits = magnitude(value);
      this.bits.put(ac.codes[16 * zeros + bits], ac.lengths[16 * zeros + bits]);
      this.bits.put(value < 0 ? value + (1 << bits) - 1 : value, bits);
      zeros = 0;
    }
    if (zeros) this.bits.put(ac.codes[0], ac.lengths[0]);
  }
}

const rounded = (value) => (value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5));
const magnitude = (value) => 32 - Math.clz32(Math.abs(value));

/** Bits to bytes; 0xff is followed by a zero. */
class Bits {
  bytes = new Uint8Array(1 << 16);
  count = 0;
  held = 0;
  room = 0; // bits held

  put(code, length) {
    this.held = (this.held << length) | code;
    this.room += length;
    while (this.room >= 8) {
      this.room -= 8;
      this.byte((this.held >> this.room) & 255);
    }
    this.held &= (1 << this.room) - 1;
  }

  byte(value) {
    if (this.count + 2 > this.bytes.length) {
      const larger = new Uint8Array(2 * this.bytes.length);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes[this.count++] = value;
    if (value === 255) this.bytes[this.count++] = 0;
  }

  end() {
    if (this.room) this.put((1 << (8 - this.room)) - 1, 8 - this.room);
  }

  taken() {
    const found = this.bytes.slice(0, this.count);
    this.count = 0;
    return found;
  }
}

const AAN = [1, 1.387039845, 1.306562965, 1.175875602, 1, 0.785694958, 0.5411961, 0.275899379];
const reciprocals = (table) => Float32Array.from(table, (value, place) => 1 / (8 * value * AAN[place >> 3] * AAN[place & 7]));

/** The cosine transform of Arai, Agui and Nakajima, in place; the scale is in `reciprocals`. */
function transform(block) {
  for (let row = 0; row < 64; row += 8) pass(block, row, 1);
  for (let column = 0; column < 8; column += 1) pass(block, column, 8);
}

function pass(b, at, step) {
  const place = (index) => at + index * step;
  const s07 = b[place(0)] + b[place(7)], d07 = b[place(0)] - b[place(7)];
  const s16 = b[place(1)] + b[place(6)], d16 = b[place(1)] - b[place(6)];
  const s25 = b[place(2)] + b[place(5)], d25 = b[place(2)] - b[place(5)];
  const s34 = b[place(3)] + b[place(4)], d34 = b[place(3)] - b[place(4)];
  const even0 = s07 + s34, even3 = s07 - s34, even1 = s16 + s25, even2 = s16 - s25;
  b[place(0)] = even0 + even1;
  b[place(4)] = even0 - even1;
  const turned = (even2 + even3) * 0.707106781;
  b[place(2)] = even3 + turned;
  b[place(6)] = even3 - turned;
  const odd0 = d34 + d25, odd1 = d25 + d16, odd2 = d16 + d07;
  const z5 = (odd0 - odd2) * 0.382683433;
  const z2 = 0.5411961 * odd0 + z5, z4 = 1.306562965 * odd2 + z5, z3 = odd1 * 0.707106781;
  const above = d07 + z3, below = d07 - z3;
  b[place(5)] = below + z2;
  b[place(3)] = below - z2;
  b[place(1)] = above + z4;
  b[place(7)] = above - z4;
}

function head(width, height, channels, { exif, icc, xmp, dpi }) {
  const jfif = new Uint8Array(9);
  jfif.set([1, 1, dpi ? 1 : 0]);
  (dpi ?? [1, 1]).forEach((value, index) => view(jfif).setUint16(3 + 2 * index, Math.round(value)));
  const parts = [Uint8Array.of(0xff, 0xd8), segment(0xe0, ascii("JFIF\0"), jfif)];
  if (exif && exif.length <= LONGEST_SEGMENT) parts.push(segment(0xe1, ascii("Exif\0\0"), exif));
  if (xmp && xmp.length <= LONGEST_SEGMENT) parts.push(segment(0xe1, ascii("http://ns.adobe.com/xap/1.0/\0"), xmp));
  const count = Math.ceil((icc?.length ?? 0) / PROFILE_PART);
  for (let part = 0; part < count; part += 1) {
    const content = icc.subarray(part * PROFILE_PART, (part + 1) * PROFILE_PART);
    parts.push(segment(0xe2, ascii("ICC_PROFILE\0"), Uint8Array.of(part + 1, count), content));
  }
  for (let table = 0; table < (channels === 1 ? 1 : 2); table += 1) {
    parts.push(segment(0xdb, Uint8Array.of(table), Uint8Array.from(ZIGZAG, (place) => DIVISORS[table][place])));
  }
  const components = channels === 1 ? [[1, 0]] : [[1, 0], [2, 1], [3, 1]];
  const size = [height >> 8, height & 255, width >> 8, width & 255];
  parts.push(segment(0xc0, Uint8Array.of(8, ...size, channels, ...components.flatMap(([id, table]) => [id, 0x11, table]))));
  for (const { kind, counts, values } of channels === 1 ? HUFFMAN.slice(0, 2) : HUFFMAN) {
    parts.push(segment(0xc4, Uint8Array.of(kind, ...counts, ...values)));
  }
  const scan = components.flatMap(([id, table]) => [id, 0x11 * table]);
  parts.push(segment(0xda, Uint8Array.of(channels, ...scan, 0, 63, 0)));
  return parts;
}

function segment(marker, ...contents) {
  const content = joined(contents);
  const start = Uint8Array.of(0xff, marker, 0, 0);
  view(start).setUint16(2, content.length + 2);
  return joined([start, content]);
}
