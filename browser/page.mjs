// The page of `serve` as a page of its own: the same HTML, with what a static page has to say for itself in its head.

/** What the page may load: from its own host alone. */
export const POLICY = [
  "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "connect-src 'self'", "worker-src 'self'",
  "img-src 'self' blob: data:", "manifest-src 'self'", "form-action 'none'", "base-uri 'none'",
].join("; ");
const HEAD = `
  <meta http-equiv="Content-Security-Policy" content="${POLICY}">
  <meta name="referrer" content="no-referrer">
  <meta name="description" content="Takes the reflection out of a photo shot through glass, in your browser. No photo leaves your device.">
  <meta name="theme-color" content="#1d4f91">
  <link rel="manifest" href="manifest.webmanifest">
  <link rel="apple-touch-icon" href="icon-192.png">`;
const CHARSET = '<meta charset="utf-8">';

/** The page's HTML from that of `serve`. */
export function page(html) {
  if (!html.includes(CHARSET)) throw new Error("index.html: its head is not as expected");
  return html.replace(CHARSET, CHARSET + HEAD);
}
