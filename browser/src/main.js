// The page that needs no server.

import { open } from "../../src/dereflect/web/page/workbench.js";
import { engine, isBusy, lacking, preload } from "./engine.js";

const RELOADED = "reloaded for threads";

/**
 * Keep the page for times without a connection. The service worker also sends the headers that let the model use several
 * threads, so the page is loaded anew once, where it does not have them from its host.
 */
async function keep() {
  if (!("serviceWorker" in navigator)) return; // no secure context: one thread, and a connection is needed
  await navigator.serviceWorker.register(new URL("../service_worker.js", import.meta.url));
  await navigator.serviceWorker.ready;
  if (crossOriginIsolated || isBusy() || sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  await new Promise(() => {}); // nothing more is begun here
}

open(engine);
if (!lacking()) {
  keep().catch((error) => console.info(`the page is not kept: ${error.message}`)).then(() => {
    if (!navigator.connection?.saveData) preload();
  });
}
