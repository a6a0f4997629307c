// Draws /openapi.json. No library: the document is our own, so its shape is known.
"use strict";

const METHODS = ["get", "post"];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text whose `words` are code.
function prose(text, tag = "p") {
  const parts = text.split("`");
  return make(tag, {}, ...parts.map((part, i) => (i % 2 ? make("code", {}, part) : part)));
}

function nameOf(schema) {
  return schema.$ref ? schema.$ref.split("/").pop() : null;
}

function typeOf(schema) {
  const name = nameOf(schema);
  if (name) return make("a", { href: "#" + name }, name);
  if (schema.allOf) return typeOf(schema.allOf[0]);
  if (schema.anyOf) {
    const parts = schema.anyOf.flatMap((part, i) => (i ? [" or ", typeOf(part)] : [typeOf(part)]));
    return make("span", {}, ...parts);
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return make("span", {}, "list of ", typeOf(schema.items || {}));
  return (schema.format || schema.type || "any").toString();
}

function rows(header, lines) {
  const head = make("tr", {}, ...header.map((text) => make("th", {}, text)));
  return make("table", {}, head, ...lines.map((cells) =>
    make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))));
}

function plain(value) {
  return typeof value === "object" ? JSON.stringify(value) : value;
}

function limitsOf(schema) {
  const limits = [];
  for (const key of ["minimum", "maximum", "minLength", "maxLength", "pattern", "default"]) {
    if (key in schema) limits.push(`${key} ${plain(schema[key])}`);
  }
  return limits.length ? " (" + limits.join(", ") + ")" : "";
}

function parametersOf(operation) {
  if (!operation.parameters || !operation.parameters.length) return null;
  return rows(["Parameter", "In", "Type", ""], operation.parameters.map((parameter) => [
    make("code", {}, parameter.name + (parameter.required ? " *" : "")),
    parameter.in,
    make("span", { class: "type" }, typeOf(parameter.schema)),
    prose((parameter.description || "") + limitsOf(parameter.schema), "span"),
  ]));
}

function contentOf(content) {
  const parts = Object.entries(content || {}).map(([type, body]) =>
    make("span", {}, typeOf(body.schema), make("span", { class: "type" }, " as " + type)));
  return make("span", {}, ...parts);
}

function responsesOf(operation) {
  return rows(["Status", "Body", ""], Object.entries(operation.responses).map(([status, response]) => [
    make("code", {}, status), contentOf(response.content), prose(response.description, "span"),
  ]));
}

// A body to start from: examples where there are some, else a value of the type.
function exampleOf(schema, components) {
  const name = nameOf(schema);
  if (name) return exampleOf(components[name], components);
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return exampleOf(schema.anyOf[0], components);
  if (schema.type !== "object") return (schema.pattern || "").startsWith("^[0-9a-f]{8}") ? "UUID" : "…";
  const fields = Object.keys(schema.properties || {}).filter((field) => (schema.required || []).includes(field));
  return Object.fromEntries(fields.map((field) => [field, exampleOf(schema.properties[field], components)]));
}

function curlOf(path, method, operation, components) {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path}`];
  if (operation.security && operation.security.length) lines.push("  -H 'Authorization: Bearer TOKEN'");
  if ((operation.parameters || []).some((parameter) => parameter.name === "Idempotency-Key")) {
    lines.push("  -H 'Idempotency-Key: KEY'");
  }
  if (operation.requestBody) {
    const schema = Object.values(operation.requestBody.content)[0].schema;
    const body = JSON.stringify(exampleOf(schema, components));
    lines.push("  -H 'Content-Type: application/json'", `  -d '${body}'`);
  }
  return make("pre", {}, lines.join(" \\\n"));
}

function operationOf(path, method, operation, components) {
  const summary = make("summary", {},
    make("span", { class: "method" }, method.toUpperCase()), " ",
    make("span", { class: "path" }, path),
    make("span", { class: "what" }, operation.summary));
  const body = operation.requestBody
    ? make("p", {}, "Body: ", contentOf(operation.requestBody.content)) : null;
  return make("details", { id: operation.operationId }, summary,
    curlOf(path, method, operation, components), parametersOf(operation), body, responsesOf(operation));
}

function schemaOf(name, schema) {
  const required = new Set(schema.required || []);
  const fields = Object.entries(schema.properties || {}).map(([field, of]) => [
    make("code", {}, field + (required.has(field) ? " *" : "")),
    make("span", { class: "type" }, typeOf(of)),
    prose((of.description || "") + limitsOf(of), "span"),
  ]);
  return make("details", { id: name },
    make("summary", {}, make("span", { class: "path" }, name)),
    schema.description ? prose(schema.description.replaceAll("``", "`")) : null,
    fields.length ? rows(["Field", "Type", ""], fields) : make("p", {}, typeOf(schema)));
}

// Each code of a problem, with the statuses it comes with: `type` of a problem points here.
function problemsOf(contract) {
  const found = new Map();
  for (const item of Object.values(contract.paths)) {
    for (const operation of Object.values(item)) {
      for (const [status, response] of Object.entries(operation.responses)) {
        const body = (response.content || {})["application/problem+json"];
        if (!body) continue;
        for (const code of body.schema.allOf[1].properties.code.enum) found.set(code, status);
      }
    }
  }
  const lines = contract["x-problems"] || {};
  const table = make("table", {}, make("tr", {}, ...["Code", "Status", ""].map((t) => make("th", {}, t))));
  for (const code of [...found.keys()].sort()) {
    table.append(make("tr", { id: code }, make("td", {}, make("code", {}, code)),
      make("td", {}, found.get(code)), make("td", {}, lines[code] || "")));
  }
  return table;
}

function draw(contract) {
  const page = document.getElementById("page");
  page.replaceChildren(
    make("h1", {}, contract.info.title + " API"),
    make("p", { class: "type" }, "version " + contract.info.version + " · ",
      make("a", { href: "/openapi.json" }, "openapi.json")),
    ...contract.info.description.split("\n\n").map((text) => prose(text)));
  for (const tag of contract.tags) {
    page.append(make("h2", {}, tag.name));
    for (const [path, item] of Object.entries(contract.paths)) {
      for (const method of METHODS) {
        const operation = item[method];
        if (!operation || !operation.tags.includes(tag.name)) continue;
        page.append(operationOf(path, method, operation, contract.components.schemas));
      }
    }
  }
  page.append(make("h2", {}, "Problems"), problemsOf(contract), make("h2", {}, "Shapes"));
  for (const [name, schema] of Object.entries(contract.components.schemas)) page.append(schemaOf(name, schema));
  reveal();
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  target.scrollIntoView();
}

window.addEventListener("hashchange", reveal);
fetch("/openapi.json")
  .then((response) => response.json())
  .then(draw)
  .catch((error) => {
    document.getElementById("page").textContent = "openapi.json cannot be read: " + error;
  });
