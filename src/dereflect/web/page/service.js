// The engine of `dereflect serve`: talks to the server that this page came from, and to nobody else.

import { make } from "./elements.js";
import { Forgotten } from "./engine.js";

/** An answer that says what is wrong. */
class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let token = sessionStorage.getItem("token");
let limits = null; // of the service, once they are known

function askForToken() {
  const input = Object.assign(document.createElement("input"), {
    id: "token", type: "password", autocomplete: "current-password", required: true,
  });
  const label = Object.assign(make("label", "This service needs its token"), { htmlFor: "token" });
  const button = Object.assign(make("button", "Go on"), { className: "primary", value: "ok" });
  const form = Object.assign(make("form", label, input, button), { method: "dialog" });
  const dialog = make("dialog", form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.onclose = () => {
      if (!input.value) {
        dialog.showModal();
        return;
      }
      dialog.remove();
      resolve(input.value);
    };
    dialog.showModal();
  });
}

/** Send a request; `onSent(share)` hears how much of the body is on its way. */
async function request(method, path, { body = null, kind = "json", onSent = null, signal = null } = {}) {
  for (;;) {
    try {
      return await send(method, path, body, kind, onSent, signal);
    } catch (error) {
      if (error.status !== 401) throw error;
      token = await askForToken();
      sessionStorage.setItem("token", token);
    }
  }
}

// XMLHttpRequest and not fetch: only it tells how much of an upload has been sent.
function send(method, path, body, kind, onSent, signal) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open(method, path);
    call.responseType = "blob";
    if (token) call.setRequestHeader("Authorization", `Bearer ${token}`);
    if (onSent) call.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    call.onload = async () => {
      if (call.status >= 200 && call.status < 300) {
        const disposition = call.getResponseHeader("Content-Disposition") ?? "";
        const coded = /filename\*=UTF-8''([^;]+)/.exec(disposition)?.[1];
        const name = coded ? decodeURIComponent(coded) : "picture";
        if (kind === "blob") return resolve({ blob: call.response, name });
        return resolve(call.status === 204 ? null : JSON.parse(await call.response.text()));
      }
      let text = `the server answered ${call.status}`;
      try { text = JSON.parse(await call.response.text()).error ?? text; } catch { /* no JSON: keep the number */ }
      reject(new Refusal(call.status, text));
    };
    call.onerror = () => reject(new Refusal(0, "the server cannot be reached; is it still running?"));
    call.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", () => call.abort());
    call.send(body);
  });
}

function rest(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException("cancelled", "AbortError"));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    setTimeout(() => { signal.removeEventListener("abort", stop); resolve(); }, milliseconds);
  });
}

const megabytes = (bytes) => `${Math.round(bytes / 1e5) / 10} MB`;

async function models() {
  const found = await request("GET", "v1/models"); // first, alone: it asks for the token if one is needed
  request("GET", "v1/limits").then((answer) => { limits = answer; }, () => {});
  return found;
}

// Said here, because a server that refuses in the middle of an upload cannot be heard by a browser.
function refusal(file) {
  if (!limits || file.size <= limits.upload_bytes) return "";
  return `the photo has ${megabytes(file.size)}, more than the ${megabytes(limits.upload_bytes)} that this server takes`;
}

const forget = (id) => { request("DELETE", `v1/jobs/${id}`).catch(() => {}); };

async function separate(file, { model, quality }, onProgress, signal) {
  const form = new FormData();
  form.append("image", file, file.name || "picture.png");
  form.append("model", model);
  form.append("quality", quality);
  onProgress("Sending the photo", 0);
  let job = await request("POST", "v1/jobs", {
    body: form, signal, onSent: (share) => onProgress("Sending the photo", share),
  });
  const stop = () => forget(job.id);
  signal.addEventListener("abort", stop, { once: true });
  for (let pause = 150; job.state === "queued" || job.state === "running"; pause = Math.min(1000, pause * 1.3)) {
    if (job.state === "queued") {
      onProgress(job.position === 0 ? "Next in line" : `In line: ${job.position} before you`, null);
    } else {
      const { done, total } = job.progress ?? {};
      onProgress(total ? `Separating: step ${done} of ${total}` : "Separating", total ? done / total : null);
    }
    await rest(pause, signal);
    job = await request("GET", `v1/jobs/${job.id}`, { signal });
  }
  if (job.state !== "done") throw new Refusal(422, job.error ?? "the separation was stopped");
  const layers = {};
  for (const layer of ["photo", "transmission", "reflection"]) {
    const { blob } = await request("GET", `v1/jobs/${job.id}/previews/${layer}`, { kind: "blob", signal });
    layers[layer] = await createImageBitmap(blob);
  }
  signal.removeEventListener("abort", stop);
  return { id: job.id, facts: job.result, layers };
}

const png = (canvas) => new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });

async function correct(id, strokes, signal) {
  const form = new FormData();
  form.append("strokes", await png(strokes), "strokes.png");
  const [transmission, reflection] = await Promise.all(["transmission", "reflection"].map(async (layer) => {
    const call = request("POST", `v1/jobs/${id}/previews/${layer}`, { body: form, kind: "blob", signal });
    return createImageBitmap((await orForgotten(call)).blob);
  }));
  return { transmission, reflection };
}

async function orForgotten(call) {
  try {
    return await call;
  } catch (error) {
    throw error.status === 404 ? new Forgotten(error.message) : error;
  }
}

async function render(id, { layers, strength, mask, format, strokes }) {
  const form = new FormData();
  form.append("layers", layers);
  form.append("strength", String(strength));
  form.append("format", format);
  if (mask) form.append("mask", await greyFile(mask), "mask.png");
  if (strokes) form.append("strokes", await png(strokes), "strokes.png");
  return orForgotten(request("POST", `v1/jobs/${id}/render`, { body: form, kind: "blob" }));
}

/** A mask as a grey PNG, white where to work. */
function greyFile(mask) {
  const flat = document.createElement("canvas");
  Object.assign(flat, { width: mask.width, height: mask.height });
  const context = flat.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, flat.width, flat.height);
  context.drawImage(mask, 0, 0);
  return png(flat);
}

const FORMATS = [["keep", "The photo's own"], ["png", "PNG"], ["jpg", "JPEG"], ["tiff", "TIFF"], ["webp", "WebP"]];
const FORMATS_OF_RAW = [["keep", "TIFF, 16 bits"], ["png", "PNG, 16 bits"], ["jpg", "JPEG"], ["webp", "WebP"]];

/** See `engine.js`. */
export const engine = {
  privacy: "Your photo goes to this server and nowhere else. It is kept in memory for some minutes, then forgotten.",
  links: [["For programs", "docs"]],
  thorough: true,
  formats: (facts) => (facts.format === "RAW" ? FORMATS_OF_RAW : FORMATS),
  models, refusal, separate, correct, render, forget,
};
