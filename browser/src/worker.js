// Works for the page, away from it, so that the page stays quick; ended by the page where the person cancels.

import { Network } from "./network.js";
import { Photo } from "./images/photo.js";
import { isChanged } from "./inference/maps.js";
import { analyse, previews, render } from "./separation.js";

let network = null; // a promise of it
let last = null; // the photo decoded last, as {file, photo}

async function photoOf(file) {
  if (last?.file !== file.key) {
    last?.photo.close();
    last = null;
    last = { file: file.key, photo: await Photo.read(file.content) };
  }
  return last.photo;
}

/** Whether there is a graphics processor, and not only a program in the place of one, which would be slower. */
async function hasGraphics() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}

async function loaded(facts, base, tell) {
  if (await hasGraphics()) {
    try {
      return await Network.load(facts, base, "webgpu", tell);
    } catch (error) {
      console.info(`WebGPU is not used: ${error.message}`);
    }
  }
  return Network.load(facts, base, "wasm", tell);
}

let listener = () => {}; // of the loading, which may have begun before the photo came

/** The network, loaded once; a later task hears of the loading in place of the one that began it. */
function ready(facts, base, tell) {
  listener = tell;
  network ??= loaded(facts, base, (words, share) => listener(words, share)).catch((error) => {
    network = null;
    throw error;
  });
  return network;
}

const TASKS = {
  async preload({ facts, base }, tell) {
    await ready(facts, base, tell);
    return { answer: null, moved: [] };
  },

  async separate({ file, quality, facts, base }, tell) {
    const photo = await photoOf(file);
    let own = await ready(facts, base, tell);
    const started = performance.now();
    let maps;
    try {
      maps = await analyse(photo, own, quality, tell);
    } catch (error) {
      if (own.place !== "WebGPU") throw error;
      console.info(`WebGPU is not used: ${error.message}`);
      own = await Network.load(facts, base, "wasm", tell);
      network = Promise.resolve(own);
      maps = await analyse(photo, own, quality, tell);
    }
    tell("Bringing it to the screen", null);
    const shown = previews(photo, maps);
    const layers = {};
    for (const [name, data] of Object.entries(shown)) layers[name] = await createImageBitmap(data);
    const seconds = (performance.now() - started) / 1000;
    const { width, height, format, notes, lossless, name } = photo;
    const described = {
      width, height, format, lossless, name, seconds, model: facts.name, reflection_found: isChanged(maps),
      notes: [...notes, `in this browser, ${own.place}`],
    };
    return { answer: { maps, layers, facts: described }, moved: Object.values(layers) };
  },

  async render({ file, maps, wish }) {
    const photo = await photoOf(file);
    return { answer: { blob: await render(photo, maps, wish) }, moved: [] };
  },
};

self.onmessage = async ({ data: { id, task, wish } }) => {
  const tell = (words, share) => self.postMessage({ id, words, share });
  try {
    const { answer, moved } = await TASKS[task](wish, tell);
    self.postMessage({ id, answer }, moved);
  } catch (error) {
    self.postMessage({ id, fault: error.message || String(error) });
  }
};
