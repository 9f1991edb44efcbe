// The page's elements: found by their id, and made.

export const element = (id) => document.getElementById(id);

/** A new element with texts and elements inside. */
export function make(kind, ...parts) {
  const made = document.createElement(kind);
  made.append(...parts);
  return made;
}
