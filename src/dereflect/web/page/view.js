// Draws the result at any strength and mask, beside the photo, and the divider between them.

import { element } from "./elements.js";

const before = element("before"), after = element("after"), reflection = element("reflection");
const compare = element("compare"), split = element("split");
const layer = document.createElement("canvas"); // the part of a layer that the mask lets through

let layers = null;

/** Show other layers: {photo, transmission, reflection} as bitmaps of one size; whoever made them closes them. */
export function show(found) {
  layers = found;
  const { width, height } = layers.photo;
  for (const canvas of [before, after, reflection, layer]) Object.assign(canvas, { width, height });
  before.getContext("2d").drawImage(layers.photo, 0, 0);
  reflection.getContext("2d").drawImage(layers.reflection, 0, 0);
  // Tall photos are as high as the window at most, so that the controls stay in sight.
  compare.style.maxWidth = `calc(76vh * ${width / height})`;
}

/** Mix the photo with a layer: strength from -1 (the reflection) over 0 (the photo) to 1 (the scene). */
export function draw(strength, mask) {
  if (!layers) return;
  const target = after.getContext("2d");
  const source = strength < 0 ? layers.reflection : layers.transmission;
  target.globalAlpha = 1;
  target.drawImage(layers.photo, 0, 0);
  target.globalAlpha = Math.abs(strength);
  if (!mask) {
    target.drawImage(source, 0, 0);
    return;
  }
  const part = layer.getContext("2d");
  part.globalCompositeOperation = "copy";
  part.drawImage(source, 0, 0);
  part.globalCompositeOperation = "destination-in";
  part.drawImage(mask, 0, 0);
  target.drawImage(layer, 0, 0);
}

const place = () => compare.style.setProperty("--split", `${split.value}%`);
split.addEventListener("input", place);
place();

const follow = (event) => {
  const box = compare.getBoundingClientRect();
  split.value = String(Math.round(100 * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))));
  place();
};
compare.addEventListener("pointerdown", (event) => {
  if (compare.classList.contains("brushing") || event.button !== 0) return;
  compare.setPointerCapture(event.pointerId);
  follow(event);
});
compare.addEventListener("pointermove", (event) => {
  if (compare.hasPointerCapture(event.pointerId) && !compare.classList.contains("brushing")) follow(event);
});
