// Wires the page to an engine: photo in, progress, result, controls, download.

import { element, make } from "./elements.js";
import { Forgotten } from "./engine.js";
import { onPhoto } from "./intake.js";
import * as painting from "./painting.js";
import * as region from "./region.js";
import * as strokes from "./strokes.js";
import { draw, show } from "./view.js";

const strength = element("strength");
let engine = null;
let photo = null; // the File at work
let shown = null; // the File that the result belongs to
let result = null; // {id, facts, layers}
let running = null; // AbortController of the separation at work
let redraw = 0;
let correcting = null; // AbortController of the correction at work
let corrected = null; // layers as the strokes have them: {transmission, reflection}
const titles = {}; // of models, by name
const PAUSE = 250; // milliseconds without a new dab before strokes are taken into account
const KEYS = "By keyboard: focus the picture, move with the arrows, paint with space.";

/** Open the page: from here on it works with this engine. */
export async function open(own) {
  engine = own;
  element("privacy").textContent = engine.privacy;
  element("foot").replaceChildren(...engine.links.map(([words, href]) => Object.assign(make("a", words), { href })));
  element("care").hidden = !engine.thorough;
  element("correction").hidden = !engine.correct;
  onPhoto(start);
  listen();
  try {
    listModels(await engine.models());
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  element("error").textContent = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  element("error").hidden = false;
}

/** Which of the page's parts are seen: what takes a photo, what tells of the work, what shows the result. */
function arrange() {
  element("work").hidden = running === null;
  element("intake").hidden = running !== null || result !== null;
  for (const id of ["result", "controls", "another"]) element(id).hidden = result === null;
  element("again").hidden = running !== null || result === null;
  document.title = running ? "dereflect: working" : "dereflect: take the reflection out of a photo";
}

/** Show the photo while it is at work, where the browser can read its format; not in place of a result. */
function showWaiting(file) {
  const image = element("waiting");
  URL.revokeObjectURL(image.src);
  image.hidden = true;
  image.onload = () => { image.hidden = result !== null; };
  image.src = URL.createObjectURL(file);
}

function listModels(models) {
  element("models").replaceChildren(...models.map((model) => {
    const card = document.createElement("label");
    card.className = "card";
    const input = Object.assign(document.createElement("input"), {
      type: "radio", name: "model", value: model.name, checked: model.default,
    });
    titles[model.name] = model.title;
    const words = make("div", make("b", model.title), make("span", model.plain || model.summary));
    const measured = [model.speed && `Speed: ${model.speed}.`, model.quality && `Quality: ${model.quality}.`];
    if (measured.some(Boolean)) words.append(make("details", make("summary", "Measured"), make("span", measured.join(" "))));
    card.append(input, words);
    return card;
  }));
}

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value ?? "";

function progress(words, share) {
  element("status").textContent = words;
  if (share === null) element("progress").removeAttribute("value");
  else element("progress").value = share;
}

async function start(file) {
  running?.abort();
  running = null;
  photo = file;
  element("error").hidden = true;
  const refusal = engine.refusal(file);
  if (refusal) {
    arrange();
    fail(new Error(refusal));
    return;
  }
  const own = running = new AbortController();
  const lost = element("intake").contains(document.activeElement); // what goes away takes the focus with it
  showWaiting(file);
  arrange();
  if (lost) element("cancel").focus();
  try {
    const wish = { model: chosen("model"), quality: chosen("quality") };
    const found = await engine.separate(file, wish, progress, own.signal);
    const before = result;
    if (before) engine.forget(before.id);
    result = found;
    present(file);
    drop(before?.layers);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    if (running === own) {
      const focused = document.activeElement === element("cancel");
      running = null;
      arrange();
      if (focused) element(result ? "split" : "file").focus({ preventScroll: true });
      if (result) element("result").scrollIntoView({ block: "nearest" });
    }
  }
}

const drop = (layers) => Object.values(layers ?? {}).forEach((bitmap) => bitmap.close());

/** Show the result with its layers as the strokes have them, or with its own. */
function exchange(layers) {
  const before = corrected;
  corrected = layers;
  show({ ...result.layers, ...(layers ?? {}) });
  drop(before);
}

function present(file) {
  const { width, height } = result.layers.photo;
  exchange(null);
  element("correcting").textContent = "";
  if (file !== shown) { // the same photo again keeps what was painted
    painting.reset(width, height);
    region.layer.reset(width, height);
    strokes.layer.reset(width, height);
    offer(engine.formats(result.facts));
  }
  shown = file;
  pick();
  describe(result.facts);
  update();
  if (strokes.layer.drawing) correct();
}

/** Offer formats of downloads; one that was chosen before stays chosen. */
function offer(formats) {
  const select = element("format");
  const before = select.value;
  select.replaceChildren(...formats.map(([value, words]) => new Option(words, value)));
  if (formats.some(([value]) => value === before)) select.value = before;
}

function describe(facts) {
  const parts = [`${facts.width} × ${facts.height} ${facts.format}`, `${titles[facts.model] ?? facts.model}, ${facts.seconds.toFixed(1)} s`];
  if (facts.reflection_found === false) parts.unshift("No reflection found, the photo is left as it was");
  element("facts").textContent = [...parts, ...facts.notes].join(" · ");
}

function update() {
  cancelAnimationFrame(redraw);
  redraw = requestAnimationFrame(() => draw(strength.value / 100, region.layer.drawing));
  const value = Number(strength.value);
  const words = value === 0 ? "The photo as it was"
    : value > 0 && result?.facts.reflection_found === false && !strokes.layer.drawing ? "There is no reflection to remove"
    : value === 100 ? "The reflection is removed"
    : value === -100 ? "Only the reflection"
    : value > 0 ? "A part of the reflection is removed" : "The scene fades, the reflection stays";
  element("strength-number").textContent = `${String(value).replace("-", "−")} %`;
  element("strength-words").textContent = words;
  strength.setAttribute("aria-valuetext", `${value} %: ${words}`);
  element("after-tag").textContent = value < 0 ? "Reflection" : "Result";
}

/** Take up the brush that is chosen, or none. */
function pick() {
  const working = element("brush").checked, saying = element("correct").checked;
  element("brush-tools").hidden = !(working || saying);
  element("said").hidden = element("correcting").hidden = !saying;
  element("brush-words").textContent = saying
    ? `A short stroke is enough; what looks alike around it follows. ${KEYS}`
    : `Edges are soft. Nothing painted means the whole photo. ${KEYS}`;
  painting.use(working ? region.brush : saying ? strokes.brush : null);
}

/** Take strokes into account, shortly after the last dab. */
async function correct() {
  correcting?.abort();
  const own = correcting = new AbortController();
  const { id } = result;
  await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  if (own.signal.aborted) return;
  element("correcting").textContent = "Taking it into account";
  try {
    const found = strokes.layer.drawing ? await engine.correct(id, strokes.layer.drawing, own.signal) : null;
    if (own.signal.aborted || result?.id !== id) {
      drop(found);
      return;
    }
    exchange(found);
    update();
    element("correcting").textContent = found ? "Taken into account" : "";
  } catch (error) {
    if (own.signal.aborted) return;
    element("correcting").textContent = "";
    if (error instanceof Forgotten) start(shown);
    else fail(error);
  }
}

async function download(button, layers) {
  const label = button.textContent;
  element("error").hidden = true;
  button.disabled = true;
  button.textContent = "Writing the file";
  const whole = layers === "reflection"; // the reflection is always given in full
  const wish = {
    layers, strength: whole ? 1 : strength.value / 100, mask: whole ? null : region.layer.drawing, format: element("format").value,
    strokes: strokes.layer.drawing,
  };
  try {
    let file;
    try {
      file = await engine.render(result.id, wish);
    } catch (error) {
      if (!(error instanceof Forgotten)) throw error;
      await start(shown);
      file = await engine.render(result.id, wish);
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file.blob);
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
    button.textContent = label;
  }
}

function listen() {
  element("cancel").addEventListener("click", () => running?.abort());
  element("again").addEventListener("click", () => photo && start(photo));
  element("another").addEventListener("click", () => {
    running?.abort();
    if (result) engine.forget(result.id);
    result = null;
    arrange();
    element("file").focus();
  });
  strength.addEventListener("input", update);
  for (const [own, other] of [["brush", "correct"], ["correct", "brush"]]) {
    element(own).addEventListener("change", () => {
      if (element(own).checked) element(other).checked = false;
      pick();
    });
  }
  element("brighten").addEventListener("click", (event) => {
    const bright = element("reflection").classList.toggle("bright");
    event.currentTarget.setAttribute("aria-pressed", String(bright));
  });
  element("clear").addEventListener("click", () => (element("correct").checked ? strokes : region).layer.clear());
  region.layer.onChange = update;
  strokes.layer.onChange = correct;
  element("download").addEventListener("click", (event) => download(event.currentTarget, "transmission"));
  element("download-reflection").addEventListener("click", (event) => download(event.currentTarget, "reflection"));
}
