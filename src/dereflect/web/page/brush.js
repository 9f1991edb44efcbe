// A soft brush that paints the region to work on; the mask is a canvas whose opacity counts.

import { element } from "./elements.js";

const overlay = element("overlay"), compare = element("compare"), size = element("size");
const TINT = "rgb(255 70 160 / .38)";
const SPACING = 0.25; // of the radius, between dabs of a stroke

export const mask = document.createElement("canvas");
let painted = false;
let active = false;
let last = null; // where the stroke was, in mask pixels
let cursor = null; // where the brush is, for keyboard and pointer
let changed = () => {};

/** Whether the mask counts: something was painted. */
export const isPainted = () => painted;

/** What to do when the mask has changed. */
export function onChange(listener) { changed = listener; }

/** Begin anew for a picture of this size. */
export function reset(width, height) {
  for (const canvas of [mask, overlay]) Object.assign(canvas, { width, height });
  painted = false;
  last = cursor = null;
}

/** Turn painting on or off. What was painted stays. */
export function setActive(on) {
  active = on;
  compare.classList.toggle("brushing", on);
  if (on) {
    overlay.tabIndex = 0;
    overlay.setAttribute("role", "application");
    cursor ??= { x: mask.width / 2, y: mask.height / 2 };
  } else {
    overlay.removeAttribute("tabindex");
    overlay.removeAttribute("role");
  }
  paintOverlay();
}

/** Forget what was painted. */
export function clear() {
  mask.getContext("2d").clearRect(0, 0, mask.width, mask.height);
  painted = false;
  paintOverlay();
  changed();
}

/** The mask as a grey PNG, white where to work; null for everywhere. */
export async function maskFile() {
  if (!painted) return null;
  const flat = document.createElement("canvas");
  Object.assign(flat, { width: mask.width, height: mask.height });
  const context = flat.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, flat.width, flat.height);
  context.drawImage(mask, 0, 0);
  return new Promise((resolve) => flat.toBlob(resolve, "image/png"));
}

const radius = () => (Number(size.value) / 100) * Math.max(mask.width, mask.height) / 2;
const erasing = () => document.querySelector('input[name="tool"]:checked').value === "erase";

function dab(x, y) {
  const context = mask.getContext("2d");
  const r = radius();
  const soft = context.createRadialGradient(x, y, r * 0.45, x, y, r);
  soft.addColorStop(0, "rgb(255 255 255 / 1)");
  soft.addColorStop(1, "rgb(255 255 255 / 0)");
  context.globalCompositeOperation = erasing() ? "destination-out" : "source-over";
  context.fillStyle = soft;
  context.fillRect(x - r, y - r, 2 * r, 2 * r);
  if (!erasing()) painted = true;
}

function stroke(to) {
  const from = last ?? to;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const steps = Math.max(1, Math.ceil(length / (radius() * SPACING)));
  for (let step = 1; step <= steps; step += 1) {
    dab(from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps);
  }
  last = to;
  changed();
}

function paintOverlay() {
  const context = overlay.getContext("2d");
  context.globalCompositeOperation = "copy";
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = TINT;
  context.fillRect(0, 0, overlay.width, overlay.height);
  context.globalCompositeOperation = "source-over";
  if (!active) {
    context.clearRect(0, 0, overlay.width, overlay.height); // the tint would hide the result
    return;
  }
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

function at(event) {
  const box = overlay.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * mask.width,
    y: ((event.clientY - box.top) / box.height) * mask.height,
  };
}

overlay.addEventListener("pointerdown", (event) => {
  if (!active || event.button !== 0) return;
  overlay.setPointerCapture(event.pointerId);
  last = null;
  cursor = at(event);
  stroke(cursor);
  paintOverlay();
});
overlay.addEventListener("pointermove", (event) => {
  if (!active) return;
  cursor = at(event);
  if (overlay.hasPointerCapture(event.pointerId)) stroke(cursor);
  paintOverlay();
});
overlay.addEventListener("pointerup", () => { last = null; });
overlay.addEventListener("keydown", (event) => {
  if (!active) return;
  const step = radius() * (event.shiftKey ? 1 : 0.35);
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (move) {
    cursor = {
      x: Math.min(mask.width, Math.max(0, cursor.x + move[0])),
      y: Math.min(mask.height, Math.max(0, cursor.y + move[1])),
    };
  } else if (event.key === " ") {
    last = null;
    stroke(cursor);
  } else {
    return;
  }
  event.preventDefault();
  paintOverlay();
});
size.addEventListener("input", paintOverlay);
