// The region to work on: a soft brush paints a canvas whose opacity counts.

import { Layer } from "./layer.js";

const TINT = "rgb(255 70 160 / .38)";

/** Its opacity says where to work; nothing painted means everywhere. */
export const layer = new Layer();

/** The brush; see `painting.js`. */
export const brush = {
  dab(x, y, radius, erasing) {
    layer.paint(erasing, (context) => {
      const soft = context.createRadialGradient(x, y, radius * 0.45, x, y, radius);
      soft.addColorStop(0, "rgb(255 255 255 / 1)");
      soft.addColorStop(1, "rgb(255 255 255 / 0)");
      context.fillStyle = soft;
      context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    });
  },
  tint(context) {
    context.drawImage(layer.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = TINT;
    context.fillRect(0, 0, layer.canvas.width, layer.canvas.height);
  },
  changed: () => layer.onChange(),
};
