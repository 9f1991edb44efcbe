// What a person says of the result: hard strokes, red where reflection was left and blue where scene was taken away.

import { refresh } from "./painting.js";

const COLOURS = { reflection: "#f00", scene: "#00f" };

const canvas = document.createElement("canvas");
let painted = false;
let changed = () => {};

/** What to do when the strokes have changed. */
export function onChange(listener) { changed = listener; }

/** The canvas, transparent where nothing was said; null while nothing was painted. */
export const drawing = () => (painted ? canvas : null);

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
    context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    context.fillStyle = COLOURS[document.querySelector('input[name="said"]:checked').value];
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    if (!erasing) painted = true;
  },
  tint(context) {
    context.globalAlpha = 0.5;
    context.drawImage(canvas, 0, 0);
    context.globalAlpha = 1;
  },
  changed: () => changed(),
};
