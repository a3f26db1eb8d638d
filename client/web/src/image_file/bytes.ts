/** A file that is read as bytes, and an offset that is beyond it is damage. */
export class Bytes {
  readonly #view: DataView;

  constructor(readonly data: Uint8Array<ArrayBuffer>) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get length(): number {
    return this.data.length;
  }

  u8(at: number): number {
    return this.#view.getUint8(at);
  }

  u16(at: number, littleEndian = false): number {
    return this.#view.getUint16(at, littleEndian);
  }

  u32(at: number, littleEndian = false): number {
    return this.#view.getUint32(at, littleEndian);
  }

  /** Returns bytes as text, one letter a byte: names of parts. */
  latin1(at: number, length: number): string {
    return String.fromCharCode(...this.part(at, length));
  }

  /** Returns a part of the data. Throws RangeError where it has no such part. */
  part(at: number, length: number): Uint8Array<ArrayBuffer> {
    if (at < 0 || length < 0 || at + length > this.length) throw new RangeError("cut short");
    return this.data.subarray(at, at + length);
  }
}
