// EXIF: its orientation is read, and marked as applied, byte by byte, so that nothing else moves: rebuilding it would
// leave the camera maker's notes with offsets that point nowhere.

import { view } from "./bytes.js";

const ORIENTATION = 0x0112, EXIF_FOLDER = 0x8769, PIXEL_WIDTH = 0xa002, PIXEL_HEIGHT = 0xa003;
const SHORT = 3, LONG = 4;
const SIZES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4];

/** Reads the directories of a TIFF structure; throws a RangeError where one is cut off. */
class Structure {
  constructor(exif) {
    this.data = view(exif);
    const order = this.data.getUint16(0);
    this.little = order === 0x4949;
    if ((!this.little && order !== 0x4d4d) || this.short(2) !== 42) throw new RangeError("no TIFF structure");
    this.first = this.long(4);
  }

  short(place) { return this.data.getUint16(place, this.little); }

  long(place) { return this.data.getUint32(place, this.little); }

  /** Entries as {tag, kind, count, place}, and where the pointer to the next directory stands. */
  directory(start) {
    if (start < 8) throw new RangeError("no directory");
    const count = this.short(start);
    const entries = Array.from({ length: count }, (_, index) => {
      const place = start + 2 + 12 * index;
      const [tag, kind, length] = [this.short(place), this.short(place + 2), this.long(place + 4)];
      const inline = (SIZES[kind] ?? 1) * length <= 4;
      return { tag, kind, count: length, place: inline ? place + 8 : this.long(place + 8) };
    });
    return { entries, pointer: start + 2 + 12 * count };
  }

  /** The first value of an entry, where it is a whole number. */
  number(entry) {
    if (!entry || !entry.count) return null;
    if (entry.kind === SHORT) return this.short(entry.place);
    return entry.kind === LONG ? this.long(entry.place) : null;
  }

  set(entry, value) {
    if (entry.kind === SHORT) this.data.setUint16(entry.place, value, this.little);
    else if (entry.kind === LONG) this.data.setUint32(entry.place, value, this.little);
  }
}

const find = (directory, tag) => directory.entries.find((entry) => entry.tag === tag);

/** The orientation that EXIF states, 1 to 8; 1 where it states none. */
export function orientationOf(exif) {
  try {
    const structure = new Structure(exif);
    const stated = structure.number(find(structure.directory(structure.first), ORIENTATION));
    return stated >= 1 && stated <= 8 ? stated : 1;
  } catch {
    return 1;
  }
}

/**
 * EXIF of the upright picture: every orientation 1, pixel sizes changed over where the sides are, and no thumbnail,
 * which shows the old picture. Null where it cannot be followed.
 *
 * @param {Uint8Array} exif a TIFF structure, without a leading "Exif" marker
 * @param {boolean} swapped whether width and height change places
 */
export function markUpright(exif, swapped) {
  const block = exif.slice();
  try {
    const structure = new Structure(block);
    const first = structure.directory(structure.first);
    mark(structure, first);
    const following = structure.long(first.pointer);
    if (following) mark(structure, structure.directory(following));
    structure.data.setUint32(first.pointer, 0);
    const inner = structure.number(find(first, EXIF_FOLDER));
    if (inner) {
      const folder = structure.directory(inner);
      mark(structure, folder);
      if (swapped) swapSizes(structure, folder);
    }
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
  return block;
}

function mark(structure, directory) {
  for (const entry of directory.entries) if (entry.tag === ORIENTATION) structure.set(entry, 1);
}

function swapSizes(structure, folder) {
  const [across, down] = [PIXEL_WIDTH, PIXEL_HEIGHT].map((tag) => find(folder, tag));
  const [width, height] = [across, down].map((entry) => structure.number(entry));
  if (width === null || height === null) return;
  structure.set(across, height);
  structure.set(down, width);
}
