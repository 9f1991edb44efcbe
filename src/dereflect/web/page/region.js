// The region to work on: a soft brush paints a canvas whose opacity counts.

import { refresh } from "./painting.js";

const TINT = "rgb(255 70 160 / .38)";

const canvas = document.createElement("canvas");
let painted = false;
let changed = () => {};

/** What to do when the region has changed. */
export function onChange(listener) { changed = listener; }

/** The canvas, whose opacity says where to work; null while nothing was painted, which means everywhere. */
export const mask = () => (painted ? canvas : null);

/** Begin anew for a picture of this size. */
export function reset(width, height) {
  Object.assign(canvas, { width, height });
  painted = false;
}

/** Forget what was painted. */
export function clear() {
  reset(canvas.width, canvas.height);
  refresh();
  changed();
}

/** The brush; see `painting.js`. */
export const brush = {
  dab(x, y, radius, erasing) {
    const context = canvas.getContext("2d");
    const soft = context.createRadialGradient(x, y, radius * 0.45, x, y, radius);
    soft.addColorStop(0, "rgb(255 255 255 / 1)");
    soft.addColorStop(1, "rgb(255 255 255 / 0)");
    context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    context.fillStyle = soft;
    context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    if (!erasing) painted = true;
  },
  tint(context) {
    context.drawImage(canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = TINT;
    context.fillRect(0, 0, canvas.width, canvas.height);
  },
  changed: () => changed(),
};
