// The walk of one photo in the browser: reduce, run, then finish at the screen's size or at its own.

import { averaged } from "./inference/average.js";
import { Finisher } from "./inference/finish.js";
import { makeMaps } from "./inference/maps.js";
import { makePlan, memoryBudget } from "./inference/plan.js";
import { reduced } from "./inference/resize.js";
import { JpegWriter } from "./images/jpeg_writing.js";
import { PngWriter } from "./images/png_writing.js";

const PREVIEW = 1600; // pixels of the longer side, as `serve` has it

/**
 * Let the network see a photo.
 *
 * @returns {Promise<object>} maps, see `makeMaps`
 */
export async function analyse(photo, network, quality, tell) {
  const plan = makePlan(photo.height, photo.width, network.facts.traits, memoryBudget());
  tell("Reading the photo", null);
  const small = planes(asSeen(opaque(reduced(photo, plan.height, plan.width)), photo.space));
  tell("Separating", null);
  const once = (copy, height, width) => network.run(copy, height, width);
  const step = (done, total) => tell(`Separating: step ${done + 1} of ${total}`, done / total);
  const { transmission, reflection } = quality === "best"
    ? await averaged(once, small, plan.height, plan.width, step) : await once(small, plan.height, plan.width);
  return makeMaps(small, transmission, reflection, plan.height, plan.width);
}

/** The photo and both layers for a screen, in sRGB: {photo, transmission, reflection} as ImageData of one size. */
export function previews(photo, maps) {
  const scale = Math.min(1, PREVIEW / Math.max(photo.height, photo.width));
  const height = Math.max(1, Math.round(photo.height * scale)), width = Math.max(1, Math.round(photo.width * scale));
  const shown = asSeen(opaque(reduced(photo, height, width)), photo.space);
  const found = { photo: new ImageData(shown, width, height) };
  for (const layer of ["transmission", "reflection"]) {
    const finisher = new Finisher(maps, { height, width, grey: photo.grey, space: null }, { layer, strength: 1, mask: null });
    const pixels = shown.slice();
    for (let y = 0; y < height; y += 1) finisher.row(y, pixels, 4 * y * width);
    found[layer] = new ImageData(pixels, width, height);
  }
  return found;
}

/**
 * A layer at full size, as a file.
 *
 * @param {object} wish {layer, strength, mask, format: "jpg" or "png"}; see `Finisher`
 * @throws {Error} in words for a person, where the format cannot hold it
 */
export async function render(photo, maps, wish) {
  const transparent = photo.isTransparent();
  if (transparent && wish.format === "jpg") throw new Error("the photo has transparency, which JPEG cannot hold; choose PNG");
  const channels = (photo.grey ? 1 : 3) + (transparent ? 1 : 0);
  const Writer = wish.format === "jpg" ? JpegWriter : PngWriter;
  const writer = new Writer(photo.width, photo.height, channels, photo.known);
  const finisher = new Finisher(maps, photo, wish);
  for (let start = 0; start < photo.height; start += photo.stripe) {
    const stop = Math.min(photo.height, start + photo.stripe);
    const pixels = photo.rows(start, stop);
    for (let y = start; y < stop; y += 1) finisher.row(y, pixels, 4 * (y - start) * photo.width);
    await writer.add(pixels);
  }
  return writer.finish();
}

/** RGB bytes as RGBA. */
function opaque(pixels) {
  const found = new Uint8ClampedArray((pixels.length / 3) * 4).fill(255);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    found[to] = pixels[from];
    found[to + 1] = pixels[from + 1];
    found[to + 2] = pixels[from + 2];
  }
  return found;
}

function asSeen(pixels, space) {
  space?.toSrgb(pixels);
  return pixels;
}

/** RGBA bytes as 3 planes in [0, 1]. */
function planes(pixels) {
  const size = pixels.length / 4;
  const found = new Float32Array(3 * size);
  for (let index = 0; index < size; index += 1) {
    for (let channel = 0; channel < 3; channel += 1) found[channel * size + index] = pixels[4 * index + channel] / 255;
  }
  return found;
}
