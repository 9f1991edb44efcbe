// Painting over the picture by pointer and keyboard, with one brush at a time. What a brush paints is its own affair.

import { element } from "./elements.js";

const overlay = element("overlay"), compare = element("compare"), size = element("size");
const SPACING = 0.25; // of the radius, between dabs of a stroke

/**
 * @typedef {object} Brush
 * @property {(x: number, y: number, radius: number, erasing: boolean) => void} dab  paint or erase a spot, in pixels of
 *   the picture shown
 * @property {(context: CanvasRenderingContext2D) => void} tint  draw what was painted, over nothing
 * @property {() => void} changed  a stroke has gone on
 */

let brush = null;
let last = null; // where the stroke was
let cursor = null; // where the brush is, for keyboard and pointer

/** Begin anew for a picture of this size. */
export function reset(width, height) {
  Object.assign(overlay, { width, height });
  last = cursor = null;
}

/** Paint with another brush, or with none. What was painted stays. */
export function use(other) {
  brush = other;
  compare.classList.toggle("brushing", brush !== null);
  if (brush) {
    overlay.tabIndex = 0;
    overlay.setAttribute("role", "application");
    cursor ??= { x: overlay.width / 2, y: overlay.height / 2 };
  } else {
    overlay.removeAttribute("tabindex");
    overlay.removeAttribute("role");
  }
  refresh();
}

/** Draw anew what was painted, and where the brush is; nothing while no brush is at work: it would hide the result. */
export function refresh() {
  const context = overlay.getContext("2d");
  context.clearRect(0, 0, overlay.width, overlay.height);
  if (!brush) return;
  brush.tint(context);
  context.globalCompositeOperation = "source-over";
  if (!cursor) return;
  const unit = overlay.width / Math.max(1, overlay.clientWidth);
  for (const [colour, width] of [["rgb(0 0 0 / .7)", 3], ["#fff", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * unit;
    context.beginPath();
    context.arc(cursor.x, cursor.y, radius(), 0, 2 * Math.PI);
    context.stroke();
  }
}

const radius = () => (Number(size.value) / 100) * Math.max(overlay.width, overlay.height) / 2;
const erasing = () => document.querySelector('input[name="tool"]:checked').value === "erase";

function stroke(to) {
  const from = last ?? to;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const steps = Math.max(1, Math.ceil(length / (radius() * SPACING)));
  for (let step = 1; step <= steps; step += 1) {
    const [x, y] = [from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps];
    brush.dab(x, y, radius(), erasing());
  }
  last = to;
  brush.changed();
}

function at(event) {
  const box = overlay.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * overlay.width,
    y: ((event.clientY - box.top) / box.height) * overlay.height,
  };
}

overlay.addEventListener("pointerdown", (event) => {
  if (!brush || event.button !== 0) return;
  overlay.setPointerCapture(event.pointerId);
  last = null;
  cursor = at(event);
  stroke(cursor);
  refresh();
});
overlay.addEventListener("pointermove", (event) => {
  if (!brush) return;
  cursor = at(event);
  if (overlay.hasPointerCapture(event.pointerId)) stroke(cursor);
  refresh();
});
overlay.addEventListener("pointerup", () => { last = null; });
overlay.addEventListener("keydown", (event) => {
  if (!brush) return;
  const step = radius() * (event.shiftKey ? 1 : 0.35);
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (move) {
    cursor = {
      x: Math.min(overlay.width, Math.max(0, cursor.x + move[0])),
      y: Math.min(overlay.height, Math.max(0, cursor.y + move[1])),
    };
  } else if (event.key === " ") {
    last = null;
    stroke(cursor);
  } else {
    return;
  }
  event.preventDefault();
  refresh();
});
size.addEventListener("input", refresh);
