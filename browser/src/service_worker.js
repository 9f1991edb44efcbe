// Keeps the page for times without a connection, and gives its files the headers under which a browser lets the model use
// several threads. The build puts in the page's POLICY, VERSION, and SHELL, the names of the page's small files.

/* global POLICY, VERSION, SHELL */
const CACHE = `dereflect-${VERSION}`;
const LARGE = "dereflect-large"; // model and runtime, whose names tell their content
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Content-Security-Policy": `${POLICY}; frame-ancestors 'self'`,
  "X-Content-Type-Options": "nosniff",
};
const isLarge = (url) => /\/page\/(ort-|model-)/.test(url.pathname);

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(SHELL.map((name) => new Request(new URL(name, self.registration.scope), { cache: "reload" })));
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith("dereflect-") && name !== CACHE && name !== LARGE) await caches.delete(name);
    }
    await tidy();
    await self.clients.claim();
  })());
});

/** Forget models and runtimes of older versions. */
async function tidy() {
  const description = await (await caches.match(new URL("page/model.json", self.registration.scope)))?.json();
  if (!description) return;
  const cache = await caches.open(LARGE);
  const current = [description.model.file, ...Object.values(description.runtime).map(({ folder }) => folder)];
  for (const request of await cache.keys()) {
    if (!current.some((name) => request.url.includes(name))) await cache.delete(request);
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !url.href.startsWith(self.registration.scope)) return;
  event.respondWith(answer(event, url));
});

async function answer(event, url) {
  const kept = await caches.match(event.request, { ignoreSearch: true });
  if (kept) return guarded(kept);
  const found = await fetch(event.request);
  if (found.ok && isLarge(url)) {
    const copy = found.clone();
    event.waitUntil(caches.open(LARGE).then((cache) => cache.put(event.request, copy)).catch(() => {})); // no room: not kept
  }
  return guarded(found);
}

function guarded(found) {
  const headers = new Headers(found.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
