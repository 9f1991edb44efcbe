// What a PNG says of itself beside its pixels, and the same file without it.

import { standsAt, through, view } from "./bytes.js";

const COLOURS = ["iCCP", "gAMA", "cHRM", "sRGB", "cICP", "eXIf"];
const XMP = "XML:com.adobe.xmp\0";

/**
 * @param {Uint8Array} bytes of the file
 * @returns {Promise<object>} as `readHeader` in reading.js
 */
export async function readPng(bytes) {
  const found = { format: "PNG", lossless: true, grey: false, deep: false, exif: null, icc: null, xmp: null, dpi: null };
  const pieces = [bytes.subarray(0, 8)];
  const numbers = view(bytes);
  let place = 8;
  while (place + 12 <= bytes.length) {
    const size = numbers.getUint32(place);
    const content = bytes.subarray(place + 8, place + 8 + size);
    const is = (kind) => standsAt(bytes, place + 4, kind);
    if (is("IHDR")) {
      found.deep = content[8] === 16;
      found.grey = content[9] === 0 || content[9] === 4;
    } else if (is("eXIf")) {
      found.exif = content.slice();
    } else if (is("iCCP")) {
      found.icc = await through(content.subarray(content.indexOf(0) + 2), new DecompressionStream("deflate")).catch(() => null);
    } else if (is("pHYs")) {
      if (content[8] === 1) found.dpi = [0, 4].map((at) => view(content).getUint32(at) * 0.0254);
    } else if (is("iTXt") && standsAt(content, 0, XMP) && content[XMP.length] === 0) {
      found.xmp = content.slice(XMP.length + 4);
    }
    if (!COLOURS.some(is)) pieces.push(bytes.subarray(place, place + 12 + size));
    place += 12 + size;
  }
  if (place < bytes.length) pieces.push(bytes.subarray(place));
  found.bare = new Blob(pieces, { type: "image/png" });
  return found;
}
