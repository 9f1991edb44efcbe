// How the network will see a photo; as dereflect.inference.plan does it for tile="auto".

/** Rounded to the nearest whole number, halves to the even one, as Python does it. */
export function rounded(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? 2 * Math.round(floor / 2) : Math.round(value);
}

/**
 * The size at which the network sees a photo: the photo's own up to the working size and the memory, else smaller.
 *
 * @param {number} height of the photo, in pixels
 * @param {number} width
 * @param {{workingSize: number, bytesPerPixel: number}} traits of the model
 * @param {number} budget bytes that the network may take at work
 */
export function makePlan(height, width, traits, budget) {
  const scale = Math.min(
    1,
    traits.workingSize / Math.max(height, width),
    Math.sqrt(budget / (traits.bytesPerPixel * height * width)),
  );
  if (scale >= 1) return { kind: "whole", height, width };
  return {
    kind: "fitted",
    height: Math.max(1, rounded(height * scale)),
    width: Math.max(1, rounded(width * scale)),
  };
}

/** Bytes that the network may take: half of what the browser says the machine has, else half of a small phone's. */
export const memoryBudget = () => ((globalThis.navigator?.deviceMemory ?? 2) / 2) * 2 ** 30;

/** The sides of what the network is given: multiples of a number, not smaller than another. */
export const padded = (side, least, multiple) => Math.ceil(Math.max(side, least) / multiple) * multiple;

/** Indices that continue 0 .. length - 1 by reflection up to `wanted`, back and forth if need be. */
export function mirror(length, wanted) {
  const period = Math.max(1, 2 * (length - 1));
  return Int32Array.from({ length: wanted }, (_, place) => {
    const index = place % period;
    return Math.min(index, period - index);
  });
}
