// PNG, written row by row: only a stripe is held, and what is compressed already.

import { ascii, joined, through, view } from "./bytes.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, start) => {
  let value = start;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** Writes a picture of `channels` 1 (grey), 2 (grey and alpha), 3 or 4 bytes a pixel. */
export class PngWriter {
  /**
   * @param {number} width
   * @param {number} height
   * @param {number} channels
   * @param {{exif, icc, xmp, dpi}} known metadata of the upright picture
   */
  constructor(width, height, channels, known) {
    this.width = width;
    this.channels = channels;
    this.known = known;
    const head = new Uint8Array(13);
    view(head).setUint32(0, width);
    view(head).setUint32(4, height);
    head.set([8, [0, 0, 4, 2, 6][channels]], 8);
    this.parts = [ascii("\x89PNG\r\n\x1a\n"), ...chunk("IHDR", head)];
    this.above = new Uint8Array(width * channels);
    const stream = new CompressionStream("deflate");
    this.writer = stream.writable.getWriter();
    this.done = this.collect(stream.readable.getReader());
  }

  /** Add rows, as RGBA bytes. */
  async add(pixels) {
    const length = this.width * this.channels;
    const rows = pixels.length / (4 * this.width);
    const filtered = new Uint8Array(rows * (length + 1));
    let row = new Uint8Array(length);
    for (let y = 0; y < rows; y += 1) {
      pack(pixels, 4 * y * this.width, row, this.channels);
      filter(row, this.above, this.channels, filtered.subarray(y * (length + 1), (y + 1) * (length + 1)));
      [this.above, row] = [row, this.above];
    }
    await this.writer.write(filtered);
  }

  /** The file. */
  async finish() {
    await this.writer.close();
    const metadata = await this.metadata();
    return new Blob([...this.parts, ...metadata, ...await this.done, ...chunk("IEND", new Uint8Array(0))], { type: "image/png" });
  }

  async collect(reader) {
    const data = [];
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) data.push(...chunk("IDAT", value));
    return data;
  }

  async metadata() {
    const { exif, icc, xmp, dpi } = this.known;
    const parts = [];
    if (icc) parts.push(...chunk("iCCP", joined([ascii("icc\0\0"), await through(icc, new CompressionStream("deflate"))])));
    if (dpi) {
      const content = new Uint8Array(9);
      dpi.forEach((value, index) => view(content).setUint32(4 * index, Math.round(value / 0.0254)));
      content[8] = 1;
      parts.push(...chunk("pHYs", content));
    }
    if (exif) parts.push(...chunk("eXIf", exif));
    if (xmp) parts.push(...chunk("iTXt", joined([ascii("XML:com.adobe.xmp\0\0\0\0\0"), xmp])));
    return parts;
  }
}

function pack(pixels, from, row, channels) {
  if (channels === 4) {
    row.set(pixels.subarray(from, from + row.length));
    return;
  }
  const alpha = channels === 2;
  const colours = channels === 3 ? 3 : 1;
  for (let to = 0, place = from; to < row.length; place += 4) {
    for (let colour = 0; colour < colours; colour += 1) row[to++] = pixels[place + colour];
    if (alpha) row[to++] = pixels[place + 3];
  }
}

/** The filter of least sum of absolute differences: left, above, or Paeth's choice (PNG 1.2, chapter 6). */
function filter(row, above, step, target) {
  const length = row.length;
  let [left, up, chosen] = [0, 0, 0];
  for (let place = 0; place < length; place += 4) { // a quarter of the row tells as well
    const a = place < step ? 0 : row[place - step];
    left += Math.abs(((row[place] - a) << 24) >> 24);
    up += Math.abs(((row[place] - above[place]) << 24) >> 24);
    chosen += Math.abs(((row[place] - choice(a, above[place], place < step ? 0 : above[place - step])) << 24) >> 24);
  }
  const kind = chosen <= left && chosen <= up ? 4 : up <= left ? 2 : 1;
  target[0] = kind;
  for (let place = 0; place < length; place += 1) {
    const a = place < step ? 0 : row[place - step];
    const guess = kind === 1 ? a : kind === 2 ? above[place] : choice(a, above[place], place < step ? 0 : above[place - step]);
    target[place + 1] = row[place] - guess;
  }
}

function choice(a, b, c) {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

function chunk(kind, content) {
  const head = new Uint8Array(8), tail = new Uint8Array(4);
  view(head).setUint32(0, content.length);
  head.set(ascii(kind), 4);
  let check = 0xffffffff;
  for (const part of [head.subarray(4), content]) {
    for (let place = 0; place < part.length; place += 1) check = TABLE[(check ^ part[place]) & 255] ^ (check >>> 8);
  }
  view(tail).setUint32(0, (check ^ 0xffffffff) >>> 0);
  return [head, content, tail];
}
