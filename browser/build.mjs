// Builds the page as static files: node build.mjs [--model FILE.onnx] [--out FOLDER]
// Without --model, the installed `dereflect export` makes the default model's file (PYTHON names its Python).

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import { POLICY, page } from "./page.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const shared = join(here, "../src/dereflect/web/page");
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const RUNTIMES = { // the smallest build of onnxruntime-web for each place: its script, its glue, its binary
  wasm: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};
const CARD = {
  title: "Default",
  plain: "The model that comes with dereflect, with the same weights.",
  summary: "", speed: "", quality: "",
};

const { values: wish } = parseArgs({ options: { model: { type: "string" }, out: { type: "string", default: join(here, "dist") } } });
const out = wish.out;

/** The model's file, and what it says of itself. */
function exported() {
  const folder = mkdtempSync(join(tmpdir(), "dereflect-"));
  const path = join(folder, "model.onnx");
  try {
    const words = ["-m", "dereflect", "export", "default", path, "--json"];
    const line = execFileSync(process.env.PYTHON ?? "python3", words, { encoding: "utf-8", stdio: ["ignore", "pipe", "inherit"] });
    return { content: readFileSync(path), facts: plain(JSON.parse(line.trim().split("\n").pop())) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A file that was made before, with its line of JSON beside it. */
function given(path) {
  return { content: readFileSync(path), facts: plain(JSON.parse(readFileSync(path.replace(/\.onnx$/, ".json"), "utf-8"))) };
}

/** Names and values in one level, as contract and metadata of the exported file have them. */
const plain = ({ traits, metadata, ...facts }) => ({
  format: 1, input: "blended", outputs: "transmission,reflection", ...facts, ...traits, ...metadata,
});

const print = (...contents) => contents.reduce((hash, content) => hash.update(content), createHash("sha256")).digest("hex").slice(0, 12);

/** Compress a file. Its ending says nothing, so that no host unpacks it by itself. */
function compressed(content, path) {
  const packed = gzipSync(content, { level: 9 });
  writeFileSync(join(out, path), packed);
  return packed.length;
}

/** Names of large files tell their content, so that what a browser has kept is never taken for another. */
function layModel(content) {
  const file = `model-${print(content)}.bin`;
  return { file, bytes: compressed(content, `page/${file}`) };
}

function layRuntimes() {
  const found = {};
  for (const [place, names] of Object.entries(RUNTIMES)) {
    const [script, glue, binary] = names.map((name) => readFileSync(join(runtime, name)));
    const folder = `ort-${place}-${print(script, glue, binary)}`;
    mkdirSync(join(out, "page", folder));
    // Named .js: some hosts give .mjs a type that browsers do not run.
    writeFileSync(join(out, "page", folder, "ort.js"), script);
    writeFileSync(join(out, "page", folder, "glue.js"), glue);
    found[place] = { folder, bytes: compressed(binary, `page/${folder}/runtime.bin`) };
  }
  return found;
}

function describe({ content, facts }) {
  if (Number(facts.format) !== 1) throw new Error(`the model's file is of format ${facts.format}; this page reads format 1`);
  const [transmission, reflection] = String(facts.outputs).split(",");
  return {
    name: facts.name,
    version: facts.version,
    licence: facts.licence,
    card: CARD,
    traits: {
      sizeMultiple: Number(facts.size_multiple),
      minSize: Number(facts.min_size),
      workingSize: Number(facts.working_size),
      bytesPerPixel: Number(facts.bytes_per_pixel),
    },
    input: facts.input,
    outputs: { transmission, reflection },
    model: layModel(content),
    runtime: layRuntimes(),
  };
}

async function bundle(constants) {
  const common = { bundle: true, format: "esm", target: ["chrome111", "firefox113", "safari16.4"], minify: true, legalComments: "none" };
  await build({
    ...common,
    entryPoints: { main: join(here, "src/main.js"), worker: join(here, "src/worker.js") },
    outdir: join(out, "page"),
  });
  await build({ ...common, format: "iife", entryPoints: [join(here, "src/service_worker.js")], outdir: out, define: { ...constants, POLICY: JSON.stringify(POLICY) } });
}

const files = (folder) => readdirSync(folder, { withFileTypes: true, recursive: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)).replaceAll("\\", "/"));

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "page"), { recursive: true });
const facts = describe(wish.model ? given(wish.model) : exported());
writeFileSync(join(out, "page/model.json"), JSON.stringify(facts));
for (const name of ["style.css", "theme.js", "icon.svg", "handle.svg"]) cpSync(join(shared, name), join(out, "page", name));
cpSync(join(here, "static"), out, { recursive: true });
writeFileSync(join(out, "index.html"), page(readFileSync(join(shared, "index.html"), "utf-8")));
const licences = [join(here, "licences.txt"), join(here, "../src/dereflect/methods/default/weights/LICENSE.encoder.txt"), join(here, "../LICENSE")];
writeFileSync(join(out, "licences.txt"), licences.map((path) => readFileSync(path, "utf-8").trim()).join(`\n\n${"-".repeat(80)}\n\n`));
await bundle({ SHELL: "[]", VERSION: '""' });

const heavy = (name) => name.endsWith(".bin") || name.startsWith("page/ort-");
const shell = files(out).filter((name) => !heavy(name) && name !== "service_worker.js");
const version = print(...shell.toSorted().map((name) => readFileSync(join(out, name))));
await bundle({ SHELL: JSON.stringify(["./", ...shell]), VERSION: JSON.stringify(version) });

const sizes = Object.fromEntries(files(out).map((name) => [name, statSync(join(out, name)).size]));
const first = (place) => Object.entries(sizes).filter(([name]) => !heavy(name) || !name.startsWith("page/ort-") || name.startsWith(`page/ort-${place}-`))
  .reduce((sum, [, size]) => sum + size, 0);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
console.log(`${out}: first load ${megabytes(first("wasm"))} by WebAssembly, ${megabytes(first("webgpu"))} by WebGPU`);
