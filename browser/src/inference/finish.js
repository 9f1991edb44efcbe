// Both layers at full size, row by row, in the photo's own colours; as dereflect.inference.finish does it.

import { Enlarger } from "./maps.js";

const LUMA = [0.2126, 0.7152, 0.0722]; // of red, green and blue in grey (Rec. 709)

/**
 * Writes rows of a finished layer.
 *
 * With I the photo and D what the network takes away: D_full = up(D) + g (I_full - up(I)), T_full = I_full - D_full; the
 * reflection is brought up alike. Where the photo is in another colour space than sRGB, only the change goes through
 * the conversion, so that what did not change keeps the colours that sRGB cannot hold.
 */
export class Finisher {
  /**
   * @param {object} maps of `makeMaps`
   * @param {{height: number, width: number, grey: boolean, space: object|null}} photo
   * @param {{layer: string, strength: number, mask: {height, width, values: Float32Array}|null}} wish what to write:
   *   "transmission" or "reflection", how much is taken away (-1 to 1), and where (one plane in [0, 1])
   */
  constructor(maps, photo, wish) {
    this.maps = new Enlarger(maps, photo.height, photo.width);
    this.mask = wish.mask && new Enlarger(wish.mask, photo.height, photo.width);
    this.photo = photo;
    this.wish = wish;
    this.seen = new Uint8ClampedArray(photo.width * 4);
    this.changed = new Uint8ClampedArray(photo.width * 4);
    this.before = new Uint8ClampedArray(photo.width * 4);
  }

  /**
   * Finish row `y`: RGBA bytes of the photo from `from` on become those of the layer, in place. Alpha stays.
   *
   * @param {number} y
   * @param {Uint8ClampedArray} pixels
   * @param {number} from
   */
  row(y, pixels, from) {
    const own = pixels.subarray(from, from + 4 * this.photo.width);
    const { space } = this.photo;
    this.seen.set(own);
    space?.toSrgb(this.seen);
    this.mix(y, this.seen, this.changed);
    if (this.photo.grey) grey(this.changed);
    if (!space) {
      own.set(this.changed);
    } else if (this.wish.layer === "reflection") {
      space.fromSrgb(this.changed);
      own.set(this.changed);
    } else {
      this.before.set(this.seen);
      space.fromSrgb(this.before);
      space.fromSrgb(this.changed);
      for (let place = 0; place < own.length; place += 1) own[place] += this.changed[place] - this.before[place];
    }
  }

  mix(y, seen, target) {
    const width = this.photo.width;
    const up = this.maps.row(y);
    const mask = this.mask?.row(y);
    const { layer, strength } = this.wish;
    const all = Math.abs(strength);
    for (let x = 0; x < width; x += 1) {
      const share = mask ? all * mask[x] : all;
      for (let channel = 0; channel < 3; channel += 1) {
        const photo = seen[4 * x + channel] / 255;
        const detail = photo - up[(6 + channel) * width + x];
        let value;
        if (layer === "reflection" || strength < 0) {
          value = clamp(up[(3 + channel) * width + x] + up[10 * width + x] * detail);
          value = layer === "reflection" ? share * value : photo + share * (value - photo);
        } else {
          value = clamp(photo - up[channel * width + x] - up[9 * width + x] * detail);
          value = photo + share * (value - photo);
        }
        target[4 * x + channel] = 255 * value;
      }
      target[4 * x + 3] = seen[4 * x + 3];
    }
  }
}

const clamp = (value) => (value < 0 ? 0 : value > 1 ? 1 : value);

function grey(pixels) {
  for (let place = 0; place < pixels.length; place += 4) {
    const value = LUMA[0] * pixels[place] + LUMA[1] * pixels[place + 1] + LUMA[2] * pixels[place + 2];
    pixels[place] = pixels[place + 1] = pixels[place + 2] = value;
  }
}
