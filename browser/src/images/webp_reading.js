// What a WebP says of itself beside its pixels, and the same file without it.

import { ascii, joined, standsAt, view } from "./bytes.js";

const ICC_FLAG = 0x20, EXIF_FLAG = 0x08, XMP_FLAG = 0x04;

/**
 * @param {Uint8Array} bytes of the file
 * @returns {object} as `readHeader` in reading.js
 */
export function readWebp(bytes) {
  const found = { format: "WebP", lossless: false, grey: false, deep: false, exif: null, icc: null, xmp: null, dpi: null };
  const pieces = [];
  const numbers = view(bytes);
  for (let place = 12; place + 8 <= bytes.length;) {
    const size = numbers.getUint32(place + 4, true);
    const content = bytes.subarray(place + 8, place + 8 + size);
    const end = place + 8 + size + (size % 2);
    const is = (kind) => standsAt(bytes, place, kind);
    if (is("EXIF")) found.exif = content.slice(standsAt(content, 0, "Exif\0\0") ? 6 : 0);
    else if (is("ICCP")) found.icc = content.slice();
    else if (is("XMP ")) found.xmp = content.slice();
    else {
      const piece = bytes.slice(place, end);
      if (is("VP8L")) found.lossless = true;
      if (is("VP8X")) piece[8] &= ~(ICC_FLAG | EXIF_FLAG | XMP_FLAG);
      pieces.push(piece);
    }
    place = end;
  }
  const body = joined([ascii("WEBP"), ...pieces]);
  const head = joined([ascii("RIFF"), new Uint8Array(4)]);
  view(head).setUint32(4, body.length, true);
  found.bare = new Blob([head, body], { type: "image/webp" });
  return found;
}
