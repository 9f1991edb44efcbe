// What a person says of the result: hard strokes, red where reflection was left and blue where scene was taken away.

import { Layer } from "./layer.js";

const COLOURS = { reflection: "#f00", scene: "#00f" };

/** Transparent where nothing was said. */
export const layer = new Layer();

/** The brush; see `painting.js`. */
export const brush = {
  dab(x, y, radius, erasing) {
    layer.paint(erasing, (context) => {
      context.fillStyle = COLOURS[document.querySelector('input[name="said"]:checked').value];
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    });
  },
  tint(context) {
    context.globalAlpha = 0.5;
    context.drawImage(layer.canvas, 0, 0);
    context.globalAlpha = 1;
  },
  changed: () => layer.onChange(),
};
