// Writes the OpenAPI description out as a page, without any library.

import { make } from "./elements.js";

// Where the service is: it may be below a path of another site.
const address = new URL(".", location.href).href.replace(/\/$/, "");
document.getElementById("address").textContent = address;
document.querySelectorAll(".address").forEach((node) => { node.textContent = address; });

const description = await (await fetch("openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], description) : schema);

function typeOf(schema) {
  const found = resolve(schema) ?? {};
  if (found.anyOf) return found.anyOf.map(typeOf).filter((name) => name !== "null").join(" or ");
  if (found.enum) return found.enum.join(" | ");
  if (found.contentMediaType || found.format === "binary") return "file";
  const range = found.minimum !== undefined ? ` ${found.minimum} to ${found.maximum}` : "";
  return (found.type ?? "") + range;
}

function fields(operation) {
  const form = resolve(operation.requestBody?.content?.["multipart/form-data"]?.schema);
  const rows = (operation.parameters ?? []).map((one) => [one.name, one.schema, true]);
  for (const [name, schema] of Object.entries(form?.properties ?? {})) {
    rows.push([name, schema, (form.required ?? []).includes(name)]);
  }
  if (!rows.length) return [];
  const table = make("table");
  for (const [name, schema, required] of rows) {
    const words = [typeOf(schema), required ? "required" : schema.default !== undefined ? `default ${schema.default}` : "optional"];
    table.append(make("tr", make("td", make("code", name)), make("td", words.join(", ")), make("td", schema.description ?? "")));
  }
  return [table];
}

for (const [path, verbs] of Object.entries(description.paths)) {
  for (const [verb, operation] of Object.entries(verbs)) {
    const heading = make("h2");
    const name = make("span", verb.toUpperCase());
    name.className = "verb";
    heading.append(name, make("code", path));
    const answers = Object.entries(operation.responses)
      .map(([status, answer]) => `${status} ${answer.description}`).join("; ");
    const said = make("p", answers);
    said.className = "hint";
    document.getElementById("operations").append(heading, make("p", operation.description ?? ""), ...fields(operation), said);
  }
}
