// Runs the page's own functions for the tests: one task as JSON on standard input, arrays in base 64, the answer likewise.

import { readFileSync } from "node:fs";

const source = (name) => import(new URL(`../../browser/src/${name}`, import.meta.url));
const TYPES = { uint8: Uint8ClampedArray, float32: Float32Array };
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const array = ({ type, data }) => new TYPES[type](bytes(data).buffer);
const text = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");
const fileText = async (blob) => text(new Uint8Array(await blob.arrayBuffer()));

/** Pixels in the place of a decoded photo. */
const stripes = (pixels, height, width) => ({
  height, width, stripe: 16, rows: (start, stop) => pixels.slice(4 * width * start, 4 * width * stop),
});

const TASKS = {
  async reduced({ pixels, height, width, rows, columns }) {
    const { reduced } = await source("inference/resize.js");
    return { pixels: text(reduced(stripes(array(pixels), height, width), rows, columns)) };
  },

  async finished({ pixels, height, width, small, transmission, reflection, rows, columns, icc, grey, mask, ...wish }) {
    const { makeMaps, isChanged } = await source("inference/maps.js");
    const { Finisher } = await source("inference/finish.js");
    const { colourSpace } = await source("images/colour.js");
    const maps = makeMaps(array(small), array(transmission), array(reflection), rows, columns);
    const { space } = colourSpace(icc && bytes(icc), grey);
    const plane = mask && { ...mask, values: array(mask.values) };
    const finisher = new Finisher(maps, { height, width, grey, space }, { ...wish, mask: plane });
    const found = array(pixels);
    for (let y = 0; y < height; y += 1) finisher.row(y, found, 4 * y * width);
    return { pixels: text(found), changed: isChanged(maps) };
  },

  async averaged({ small, height, width }) {
    const { averaged } = await source("inference/average.js");
    // In the place of a network: not the same when mirrored, and not the same at another size.
    const once = async (copy, rows, columns) => ({
      transmission: copy.map((value, index) => Math.min(1, value * (0.5 + (0.4 * (index % columns)) / columns))),
      reflection: copy.map((value, index) => Math.min(1, value * (0.3 + (0.2 * (index % columns)) / columns))),
    });
    const { transmission, reflection } = await averaged(once, array(small), height, width, () => {});
    return { transmission: text(transmission), reflection: text(reflection) };
  },

  async colours({ icc, pixels, grey, back }) {
    const { colourSpace } = await source("images/colour.js");
    const { space, unknown } = colourSpace(bytes(icc), grey);
    const found = array(pixels);
    if (space) space[back ? "fromSrgb" : "toSrgb"](found);
    return { pixels: text(found), same: !space, unknown };
  },

  async written({ format, pixels, height, width, channels, known }) {
    const { [format]: Writer } = await source(format === "JpegWriter" ? "images/jpeg_writing.js" : "images/png_writing.js");
    const kept = Object.fromEntries(Object.entries(known).map(([key, value]) => [key, typeof value === "string" ? bytes(value) : value]));
    const writer = new Writer(width, height, channels, kept);
    const all = array(pixels);
    for (let row = 0; row < height; row += 20) await writer.add(all.slice(4 * width * row, 4 * width * (row + 20)));
    return { file: await fileText(await writer.finish()) };
  },

  async read({ file }) {
    const { readHeader } = await source("images/reading.js");
    const { exif, icc, xmp, bare, ...facts } = await readHeader(new Blob([bytes(file)]));
    const coded = Object.fromEntries(Object.entries({ exif, icc, xmp }).map(([key, value]) => [key, value && text(value)]));
    return { ...facts, ...coded, bare: await fileText(bare) };
  },

  async upright({ exif, swapped }) {
    const { markUpright } = await source("images/exif.js");
    const found = markUpright(bytes(exif), swapped);
    return { exif: found && text(found) };
  },

  async plan({ height, width, budget }) {
    const { makePlan, mirror, padded } = await source("inference/plan.js");
    const found = makePlan(height, width, { workingSize: 512, bytesPerPixel: 720 }, budget);
    const sides = [found.height, found.width].map((side) => padded(side, 64, 32));
    return { ...found, sides, mirrored: [...mirror(found.height, sides[0])] };
  },
};

const { task, ...wish } = JSON.parse(readFileSync(0, "utf-8"));
process.stdout.write(JSON.stringify(await TASKS[task](wish)));
