// XMP: kept where it speaks of the picture alone, with its orientation marked as applied.

const GONE = /hdr-gain-map|HDRGainMap|photos\/1\.0\/(container|depthmap|image|audio|camera)|HasExtendedXMP|xmp:Thumbnails|xapGImg/;

const one = (all, before, after) => `${before}1${after}`;

/** XMP of the upright picture; null where it also speaks of things that the result does not carry, such as a gain map. */
export function settle(xmp) {
  const text = new TextDecoder().decode(xmp);
  if (GONE.test(text)) return null;
  const upright = text
    .replace(/(tiff:Orientation\s*=\s*["'])\s*[1-8]\s*(["'])/g, one)
    .replace(/(<tiff:Orientation>)\s*[1-8]\s*(<\/tiff:Orientation>)/g, one);
  return new TextEncoder().encode(upright);
}
