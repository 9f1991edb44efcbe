// Wires the page: photo in, progress, result, controls, download.

import * as brush from "./brush.js";
import { element, make } from "./elements.js";
import { onTokenNeeded, render, request, separate } from "./service.js";
import { draw, show } from "./view.js";

const strength = element("strength");
let photo = null; // the File at work
let shown = null; // the File that the result belongs to
let limits = null; // of the service
let result = null; // {id, facts, layers}
let running = null; // AbortController of the separation at work
let redraw = 0;
const titles = {}; // of models, by name

onTokenNeeded(() => new Promise((resolve) => {
  const dialog = element("ask");
  element("token").value = "";
  dialog.onclose = () => (element("token").value ? resolve(element("token").value) : dialog.showModal());
  dialog.showModal();
}));

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

const megabytes = (bytes) => `${Math.round(bytes / 1e5) / 10} MB`;

async function listModels() {
  const models = await request("GET", "v1/models");
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

async function prepare() {
  await listModels(); // first, alone: it asks for the token if one is needed
  limits = await request("GET", "v1/limits");
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
  // Said here, because a server that refuses in the middle of an upload cannot be heard by a browser.
  if (limits && file.size > limits.upload_bytes) {
    arrange();
    fail(new Error(`the photo has ${megabytes(file.size)}, more than the ${megabytes(limits.upload_bytes)} that this server takes`));
    return;
  }
  const own = running = new AbortController();
  const lost = element("intake").contains(document.activeElement); // what goes away takes the focus with it
  showWaiting(file);
  arrange();
  if (lost) element("cancel").focus();
  try {
    const found = await separate(file, chosen("model"), chosen("quality"), progress, own.signal);
    if (result) request("DELETE", `v1/jobs/${result.id}`).catch(() => {});
    result = found;
    const { width, height } = found.layers.photo;
    show(found.layers);
    if (file !== shown) brush.reset(width, height); // the same photo again keeps what was painted
    shown = file;
    brush.setActive(element("brush").checked);
    describe(found.facts);
    update();
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

function describe(facts) {
  const parts = [`${facts.width} × ${facts.height} ${facts.format}`, `${titles[facts.model] ?? facts.model}, ${facts.seconds.toFixed(1)} s`];
  element("facts").textContent = [...parts, ...facts.notes].join(" · ");
}

function update() {
  cancelAnimationFrame(redraw);
  redraw = requestAnimationFrame(() => draw(strength.value / 100, brush.isPainted() ? brush.mask : null));
  const value = Number(strength.value);
  const words = value === 0 ? "The photo as it was"
    : value === 100 ? "The reflection is removed"
    : value === -100 ? "Only the reflection"
    : value > 0 ? "A part of the reflection is removed" : "The scene fades, the reflection stays";
  element("strength-number").textContent = `${String(value).replace("-", "−")} %`;
  element("strength-words").textContent = words;
  strength.setAttribute("aria-valuetext", `${value} %: ${words}`);
  element("after-tag").textContent = value < 0 ? "Reflection" : "Result";
}

async function download(button, layers) {
  const label = button.textContent;
  element("error").hidden = true;
  button.disabled = true;
  button.textContent = "Writing the file";
  const whole = layers === "reflection"; // the reflection is always given in full
  const wish = { layers, strength: whole ? 1 : strength.value / 100, format: element("format").value };
  try {
    wish.mask = whole ? null : await brush.maskFile();
    let file;
    try {
      file = await render(result.id, wish);
    } catch (error) {
      if (error.status !== 404) throw error;
      await start(photo); // the server has forgotten it meanwhile
      file = await render(result.id, wish);
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

for (const id of ["file", "camera"]) {
  element(id).addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) start(file);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (file) start(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) start(file);
});
element("cancel").addEventListener("click", () => running?.abort());
element("again").addEventListener("click", () => photo && start(photo));
element("another").addEventListener("click", () => {
  running?.abort();
  if (result) request("DELETE", `v1/jobs/${result.id}`).catch(() => {});
  result = null;
  arrange();
  element("file").focus();
});
strength.addEventListener("input", update);
element("brush").addEventListener("change", (event) => {
  element("brush-tools").hidden = !event.target.checked;
  brush.setActive(event.target.checked);
});
element("brighten").addEventListener("click", (event) => {
  const bright = element("reflection").classList.toggle("bright");
  event.currentTarget.setAttribute("aria-pressed", String(bright));
});
element("clear").addEventListener("click", brush.clear);
brush.onChange(update);
element("download").addEventListener("click", (event) => download(event.currentTarget, "transmission"));
element("download-reflection").addEventListener("click", (event) => download(event.currentTarget, "reflection"));

prepare().catch(fail);
