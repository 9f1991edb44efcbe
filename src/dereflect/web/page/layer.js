// What one brush has painted: a canvas that lies over the picture, and who wants to know when it changes.

import { refresh } from "./painting.js";

export class Layer {
  canvas = document.createElement("canvas");
  /** What to do when the drawing has changed. */
  onChange = () => {};
  #painted = false;

  /** The canvas, transparent where nothing was painted; null while nothing was. */
  get drawing() { return this.#painted ? this.canvas : null; }

  /** Begin anew for a picture of this size. */
  reset(width, height) {
    Object.assign(this.canvas, { width, height });
    this.#painted = false;
  }

  /** Forget what was painted. */
  clear() {
    this.reset(this.canvas.width, this.canvas.height);
    refresh();
    this.onChange();
  }

  /** Paint a shape, or take it out; `shape` draws it on the context that it is given. */
  paint(erasing, shape) {
    const context = this.canvas.getContext("2d");
    context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    shape(context);
    if (!erasing) this.#painted = true;
  }
}
