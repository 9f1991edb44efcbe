// What a JPEG says of itself before its pixels, and the same file without it.

import { joined, standsAt, view } from "./bytes.js";

const EXIF = "Exif\0\0", XMP = "http://ns.adobe.com/xap/1.0/\0", ICC = "ICC_PROFILE\0", JFIF = "JFIF\0";

/**
 * @param {Uint8Array} bytes of the file
 * @returns {object} as `readHeader` in reading.js
 */
export function readJpeg(bytes) {
  const found = { format: "JPEG", lossless: false, grey: false, deep: false, exif: null, icc: null, xmp: null, dpi: null };
  const profile = [];
  let parts = 0;
  const pieces = [bytes.subarray(0, 2)];
  let place = 2;
  while (place + 4 <= bytes.length && bytes[place] === 0xff) {
    const marker = bytes[place + 1];
    if (marker === 0xff) { place += 1; continue; }
    if (marker === 0xda) break;
    const size = view(bytes).getUint16(place + 2);
    const content = bytes.subarray(place + 4, place + 2 + size);
    let kept = true;
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      found.grey = content[5] === 1;
      found.cmyk = content[5] === 4;
    } else if (marker === 0xe0 && standsAt(content, 0, JFIF)) {
      const scale = { 1: 1, 2: 2.54 }[content[7]]; // an inch, a centimetre
      if (scale) found.dpi = [8, 10].map((at) => view(content).getUint16(at) * scale);
    } else if (marker === 0xe1) {
      kept = false;
      if (standsAt(content, 0, EXIF)) found.exif ??= content.slice(EXIF.length);
      else if (standsAt(content, 0, XMP)) found.xmp ??= content.slice(XMP.length);
    } else if (marker === 0xe2) {
      kept = false;
      if (standsAt(content, 0, ICC)) {
        profile[content[12]] ??= content.subarray(14);
        parts = Math.max(parts, content[13]);
      }
    }
    if (kept) pieces.push(bytes.subarray(place, place + 2 + size));
    place += 2 + size;
  }
  const whole = profile.filter(Boolean);
  if (whole.length && whole.length >= parts) found.icc = joined(whole);
  found.bare = new Blob([...pieces, bytes.subarray(place)], { type: "image/jpeg" });
  return found;
}
