// Bytes: searched, joined, told apart.

/** Whether bytes stand at a place; text is taken letter by letter. */
export function standsAt(bytes, place, text) {
  for (let index = 0; index < text.length; index += 1) {
    if (bytes[place + index] !== text.charCodeAt(index)) return false;
  }
  return true;
}

/** Text as bytes, letter by letter. */
export const ascii = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** Arrays of bytes one after the other. */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    all.set(part, place);
    place += part.length;
  }
  return all;
}

/** A view that reads numbers of these bytes alone. */
export const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Bytes through a stream, such as a decompression. */
export async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}
