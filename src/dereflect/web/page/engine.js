// The seam between the page and what separates its photos: a service over HTTP, or a model in the browser itself.

/**
 * What the page asks of an engine. Layers are bitmaps of one size, small enough for a screen; strength goes from -1
 * to 1; a mask is a canvas of the layers' size whose opacity counts, or null for everywhere.
 *
 * @typedef {object} Engine
 * @property {string} privacy  one sentence: where photos go
 * @property {[string, string][]} links  words and addresses, for the foot of the page
 * @property {boolean} thorough  whether it can look several times (`quality` "best")
 * @property {() => Promise<object[]>} models  {name, title, plain, summary, speed, quality, default}, the default first
 * @property {(file: File) => string} refusal  why a file cannot be taken, before anything is done; "" where it can
 * @property {(file: File, wish: {model: string, quality: string}, onProgress: (words: string, share: number|null) => void,
 *   signal: AbortSignal) => Promise<{id: string, facts: object, layers: object}>} separate
 *   facts: {width, height, format, model, seconds, reflection_found, notes}; layers: {photo, transmission, reflection}
 * @property {(facts: object) => [string, string][]} formats  of downloads: names and words, the first is preselected
 * @property {((id: string, strokes: HTMLCanvasElement, signal: AbortSignal) => Promise<object>)=} correct  {transmission,
 *   reflection} as red strokes (reflection was left) and blue ones (scene was taken) have them; absent where it cannot
 * @property {(id: string, wish: {layers: string, strength: number, mask: HTMLCanvasElement|null, format: string,
 *   strokes: HTMLCanvasElement|null}) => Promise<{blob: Blob, name: string}>} render  the finished picture in full size; rejects with `Forgotten` where it
 *   has to be separated again
 * @property {(id: string) => void} forget  a result that is not needed any more
 */

/** The engine does not hold this result any more. */
export class Forgotten extends Error {}
