// What a file says of itself beside its pixels; and the file without it, so that every browser decodes the same numbers:
// not turned, and not converted to another colour space.

import { standsAt } from "./bytes.js";
import { orientationOf } from "./exif.js";
import { readJpeg } from "./jpeg_reading.js";
import { readPng } from "./png_reading.js";
import { readWebp } from "./webp_reading.js";

/**
 * @param {Blob} file
 * @returns {Promise<object>} {format, lossless, grey, deep (16 bit), cmyk, exif, icc, xmp (bytes or null), dpi (two numbers
 *   or null), orientation (1 to 8), bare (what to decode), settled (whether the decoder turns and converts it)}
 */
export async function readHeader(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const read = standsAt(bytes, 0, "\xff\xd8\xff") ? readJpeg
    : standsAt(bytes, 0, "\x89PNG\r\n\x1a\n") ? readPng
    : standsAt(bytes, 0, "RIFF") && standsAt(bytes, 8, "WEBP") ? readWebp : null;
  if (!read) return { ...NOTHING, format: formatOf(bytes), bare: file, orientation: 1, settled: true };
  const found = await read(bytes);
  return { ...NOTHING, ...found, orientation: found.exif ? orientationOf(found.exif) : 1 };
}

const NOTHING = {
  lossless: false, grey: false, deep: false, cmyk: false, exif: null, icc: null, xmp: null, dpi: null, settled: false,
};

/** The name of a format that is not read here; "" where it is none that is known. */
function formatOf(bytes) {
  if (standsAt(bytes, 0, "GIF8")) return "GIF";
  if (standsAt(bytes, 0, "BM")) return "BMP";
  if (standsAt(bytes, 0, "II*\0") || standsAt(bytes, 0, "MM\0*")) return "TIFF";
  if (!standsAt(bytes, 4, "ftyp")) return "";
  return standsAt(bytes, 8, "avi") ? "AVIF" : "HEIC";
}
