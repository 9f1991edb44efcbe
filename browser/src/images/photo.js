// A decoded photo, upright, in its own colours; read in stripes, so that no second copy of its pixels is held.

import { colourSpace } from "./colour.js";
import { markUpright } from "./exif.js";
import { readHeader } from "./reading.js";
import { settle } from "./xmp.js";

const STRIPE_PIXELS = 1 << 18;
const LONGEST_SIDE = 16_384; // pixels; the canvases of some browsers end there
const TURNS = { // how a canvas is turned so that a picture of each orientation stands upright; W and H are the upright sides
  1: () => [1, 0, 0, 1, 0, 0],
  2: (width) => [-1, 0, 0, 1, width, 0],
  3: (width, height) => [-1, 0, 0, -1, width, height],
  4: (width, height) => [1, 0, 0, -1, 0, height],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (width) => [0, 1, -1, 0, width, 0],
  7: (width, height) => [0, -1, -1, 0, width, height],
  8: (width, height) => [0, -1, 1, 0, 0, height],
};

/** A photo. `rows` gives its pixels; `space` is null where that is sRGB. */
export class Photo {
  /**
   * Decode a file.
   *
   * @param {File} file
   * @throws {Error} in words for a person, where the browser cannot read it
   */
  static async read(file) {
    const header = await readHeader(file);
    let bitmap;
    try {
      bitmap = await createImageBitmap(header.bare, {
        colorSpaceConversion: header.settled ? "default" : "none",
        premultiplyAlpha: header.format === "JPEG" ? "default" : "none", // which takes a second copy for a moment
      });
    } catch {
      throw new Error(refusal(file, header));
    }
    if (Math.max(bitmap.width, bitmap.height) > LONGEST_SIDE) {
      bitmap.close();
      throw new Error(`the photo is longer than the ${LONGEST_SIDE} pixels that browsers take; give it to the program`);
    }
    return new Photo(file, header, bitmap);
  }

  constructor(file, header, bitmap) {
    this.bitmap = bitmap;
    this.format = header.format || "picture";
    this.lossless = header.lossless;
    this.grey = header.grey;
    this.name = file.name || "picture";
    const swapped = header.orientation > 4;
    this.width = swapped ? bitmap.height : bitmap.width;
    this.height = swapped ? bitmap.width : bitmap.height;
    this.turn = TURNS[header.orientation](this.width, this.height);
    const found = colourSpace(header.icc, header.grey);
    this.space = found.space;
    this.stripe = Math.max(8, 8 * Math.floor(STRIPE_PIXELS / (8 * this.width)));
    this.canvas = new OffscreenCanvas(this.width, Math.min(this.stripe, this.height));
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.imageSmoothingEnabled = false;
    const xmp = header.xmp && settle(header.xmp);
    this.known = {
      exif: header.exif && markUpright(header.exif, swapped),
      icc: header.cmyk ? null : header.icc,
      xmp,
      dpi: header.dpi && (swapped ? [...header.dpi].reverse() : header.dpi),
    };
    this.notes = [
      found.unknown && "its colour profile is not known here; its numbers are taken for sRGB",
      header.deep && "16 bits are read as 8",
      header.exif && !this.known.exif && "its EXIF is damaged and is not kept",
      header.xmp && !xmp && "its XMP is not kept: it speaks of more than this picture",
      header.settled && "its metadata is not kept, and its colours become sRGB",
      header.cmyk && "its CMYK colours become RGB",
    ].filter(Boolean);
  }

  /** Rows as RGBA bytes; good until the next call. */
  rows(start, stop) {
    const { context, bitmap } = this;
    const [a, b, c, d, e, f] = this.turn;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.width, stop - start);
    context.setTransform(a, b, c, d, e, f - start);
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, this.width, stop - start).data;
  }

  /** Whether some pixel is transparent. */
  isTransparent() {
    if (this.format === "JPEG") return false;
    this.transparent ??= this.findTransparency();
    return this.transparent;
  }

  findTransparency() {
    for (let start = 0; start < this.height; start += this.stripe) {
      const rows = this.rows(start, Math.min(this.height, start + this.stripe));
      for (let place = 3; place < rows.length; place += 4) if (rows[place] !== 255) return true;
    }
    return false;
  }

  close() {
    this.bitmap.close();
  }
}

function refusal(file, header) {
  const name = file.name || "the picture";
  if (!header.format) return `this browser knows no picture like ${name}; give a JPEG, PNG or WebP`;
  if (["TIFF", "HEIC", "AVIF"].includes(header.format)) {
    return `this browser does not read ${header.format} (${name}); save it as JPEG or PNG, or give it to the program`;
  }
  return `this browser cannot read ${name}, a ${header.format}: it is damaged, or too large for it`;
}
