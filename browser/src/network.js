// The model at work in onnxruntime-web: on the graphics processor by WebGPU where there is one, else by WebAssembly.

import { mirror, padded } from "./inference/plan.js";

const MOST_THREADS = 8;

/** Fetch a file that was compressed by gzip at the build; `onShare` hears how much has come. */
async function fetched(url, bytes, onShare) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname.split("/").pop()} cannot be fetched (${answer.status}); is there a connection?`);
  let come = 0;
  const counting = new TransformStream({
    transform(chunk, controller) {
      come += chunk.length;
      onShare(Math.min(1, come / bytes));
      controller.enqueue(chunk);
    },
  });
  const body = answer.body.pipeThrough(counting).pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** A model that is loaded and can be run. */
export class Network {
  /**
   * Load runtime and model.
   *
   * @param {object} facts of the model, as build.mjs wrote them: traits, names, files with their sizes
   * @param {URL} base where the page's files lie
   * @param {string} place "webgpu" or "wasm"
   * @param {(words: string, share: number|null) => void} tell
   */
  static async load(facts, base, place, tell) {
    const runtime = facts.runtime[place];
    const lies = (name) => new URL(`${runtime.folder}/${name}`, base);
    const total = facts.model.bytes + runtime.bytes;
    const come = { model: 0, runtime: 0 };
    const count = (part, bytes) => (share) => {
      come[part] = share * bytes;
      tell("Fetching the model, once", (come.model + come.runtime) / total);
    };
    const [model, binary, ort] = await Promise.all([
      fetched(new URL(facts.model.file, base), facts.model.bytes, count("model", facts.model.bytes)),
      fetched(lies("runtime.bin"), runtime.bytes, count("runtime", runtime.bytes)),
      import(lies("ort.js").href),
    ]);
    tell("Preparing the model", null);
    ort.env.wasm.wasmBinary = binary.buffer;
    ort.env.wasm.wasmPaths = { mjs: lies("glue.js").href };
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(model, { executionProviders: [place], graphOptimizationLevel: "all", logSeverityLevel: 3 });
    const threads = ort.env.wasm.numThreads;
    return new Network(ort, session, facts, place === "webgpu" ? "WebGPU" : threads > 1 ? `${threads} threads` : "1 thread");
  }

  constructor(ort, session, facts, place) {
    Object.assign(this, { ort, session, facts, place });
  }

  /**
   * Separate a picture of any size.
   *
   * @param {Float32Array} small 3 planes in [0, 1]
   * @returns {Promise<{transmission: Float32Array, reflection: Float32Array}>} 3 planes each, in [0, 1]
   */
  async run(small, height, width) {
    const { minSize, sizeMultiple } = this.facts.traits;
    const [rows, columns] = [height, width].map((side) => padded(side, minSize, sizeMultiple));
    const [down, across] = [mirror(height, rows), mirror(width, columns)];
    const given = new Float32Array(3 * rows * columns);
    for (let plane = 0, to = 0; plane < 3; plane += 1) {
      for (let y = 0; y < rows; y += 1) {
        const from = (plane * height + down[y]) * width;
        for (let x = 0; x < columns; x += 1) given[to++] = small[from + across[x]];
      }
    }
    const tensor = new this.ort.Tensor("float32", given, [1, 3, rows, columns]);
    const found = await this.session.run({ [this.facts.input]: tensor });
    const cropped = (name) => crop(found[name].data, rows, columns, height, width);
    return { transmission: cropped(this.facts.outputs.transmission), reflection: cropped(this.facts.outputs.reflection) };
  }
}

function crop(values, rows, columns, height, width) {
  const found = new Float32Array(3 * height * width);
  for (let plane = 0, to = 0; plane < 3; plane += 1) {
    for (let y = 0; y < height; y += 1) {
      const from = (plane * rows + y) * columns;
      for (let x = 0; x < width; x += 1) found[to++] = Math.min(1, Math.max(0, values[from + x]));
    }
  }
  return found;
}
