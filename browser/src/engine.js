// The engine of the page that needs no server: the model runs in this browser, in a worker.

import { Forgotten } from "../../src/dereflect/web/page/engine.js";

// A module of one function whose result is a vector: i32.const 0, i8x16.splat.
const VECTORS = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
);

let worker = null;
let facts = null;
let waiting = new Map(); // tasks that the worker has, by number
let count = 0;
const results = new Map();

/** Why this browser cannot run the model; "" where it can. */
export function lacking() {
  if (typeof WebAssembly !== "object") return "this browser does not run WebAssembly, which the model needs; take a newer one";
  if (!WebAssembly.validate(VECTORS)) return "this browser's WebAssembly has no SIMD, which the model needs; take a newer one";
  if (typeof OffscreenCanvas !== "function" || typeof DecompressionStream !== "function") {
    return "this browser lacks what the model needs (OffscreenCanvas, DecompressionStream); take a newer one";
  }
  return "";
}

function asked(task, wish, tell = () => {}, signal = null) {
  if (signal?.aborted) return Promise.reject(new DOMException("cancelled", "AbortError"));
  worker ??= started();
  const id = ++count;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, tell });
    signal?.addEventListener("abort", () => {
      if (!waiting.has(id)) return;
      stop(new DOMException("cancelled", "AbortError")); // a run of the network cannot be ended otherwise
    }, { once: true });
    worker.postMessage({ id, task, wish });
  });
}

function started() {
  const own = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  own.onmessage = ({ data: { id, words, share, answer, fault } }) => {
    const task = waiting.get(id);
    if (!task) return;
    if (words) {
      task.tell(words, share);
      return;
    }
    waiting.delete(id);
    if (fault === undefined) task.resolve(answer);
    else task.reject(new Error(fault));
  };
  own.onerror = (event) => {
    event.preventDefault();
    if (own === worker) stop(new Error(`the model's worker ended (${event.message || "not enough memory?"})`));
  };
  return own;
}

function stop(error) {
  worker.terminate();
  worker = null;
  for (const task of waiting.values()) task.reject(error);
  waiting = new Map();
}

async function models() {
  const missing = lacking();
  if (missing) throw new Error(missing);
  facts = await (await fetch(new URL("model.json", import.meta.url))).json();
  return [{ ...facts.card, name: facts.name, default: true }];
}

/** Whether a task is at work. */
export const isBusy = () => waiting.size > 0;

/** Fetch and prepare the model, so that the first photo need not wait. */
export async function preload() {
  if (!facts) await models();
  await asked("preload", { facts, base: import.meta.url }).catch((error) => console.info(error.message)); // said with a photo
}

async function separate(content, { quality }, onProgress, signal) {
  if (!facts) await models();
  const file = { key: crypto.randomUUID?.() ?? `${Date.now()} ${count}`, content };
  onProgress("Reading the photo", null);
  const wish = { file, quality, facts, base: import.meta.url };
  const { maps, layers, facts: described } = await asked("separate", wish, onProgress, signal);
  results.set(file.key, { file, maps, facts: described });
  return { id: file.key, facts: described, layers };
}

async function render(id, { layers, strength, mask, format }) {
  const result = results.get(id);
  if (!result) throw new Forgotten("this result is not held any more");
  const { file, maps, facts: { format: own, lossless, name } } = result;
  const wanted = format === "keep" ? own === "PNG" || lossless ? "png" : "jpg" : format;
  const wish = { layer: layers, strength, mask: mask && opacity(mask), format: wanted };
  const { blob } = await asked("render", { file, maps, wish });
  const [, stem, suffix] = /^(.*?)(\.[^.]*)?$/.exec(name);
  const kept = { png: /^\.png$/i, jpg: /^\.jpe?g$/i }[wanted].test(suffix ?? "") ? suffix : `.${wanted}`;
  return { blob, name: `${stem || "picture"}_${layers}${kept}` };
}

/** Opacity of a canvas as one plane in [0, 1]. */
function opacity(canvas) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  return { width, height, values: Float32Array.from({ length: width * height }, (_, index) => pixels[4 * index + 3] / 255) };
}

function formats({ format }) {
  const both = [["jpg", "JPEG"], ["png", "PNG"]];
  return format === "JPEG" || format === "PNG" ? [["keep", "The photo's own"], ["png", "PNG"], ["jpg", "JPEG"]] : both;
}

/** See engine.js of the page. */
export const engine = {
  privacy: "Your photo stays on this device: the model runs in your browser, also without a connection.",
  links: [["Licences", "licences.txt"]],
  thorough: true,
  refusal: () => "",
  forget: (id) => results.delete(id),
  formats, models, separate, render,
};
