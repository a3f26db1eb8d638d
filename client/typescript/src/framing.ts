/** Messages as gRPC puts them into a stream of bytes: a flag, a length, and the message. */

import { Code, ConnectError } from "@connectrpc/connect";

const HEAD_BYTES = 5;

/** Return `message` as it is sent. */
export function framed(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEAD_BYTES + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, HEAD_BYTES);
  return frame;
}

/** Takes bytes as they come, and gives the messages that they end. */
export class Unframing {
  readonly #mostBytes: number;
  #headFilled = 0;
  #flags = 0;
  #bodyBytes = 0;
  /** Set where the message lies in several pieces. */
  #body: Uint8Array | undefined;
  #bodyFilled = 0;

  /** A message of more than `mostBytes` is an error. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Whether all bytes that came belong to messages that were given. */
  get isBetweenMessages(): boolean {
    return this.#headFilled === 0;
  }

  /**
   * Give `take` each message that ends in `bytes`. One that lies in them whole is a view of them, and
   * is not copied. Throws `ConnectError`.
   */
  add(bytes: Uint8Array, take: (message: Uint8Array) => void): void {
    let at = 0;
    for (;;) {
      while (this.#headFilled < HEAD_BYTES) {
        const byte = bytes[at++];
        if (byte === undefined) {
          return;
        }
        this.#addToHead(byte);
      }
      const missing = this.#bodyBytes - this.#bodyFilled;
      const part = bytes.subarray(at, at + missing);
      at += part.length;
      const message = part.length === this.#bodyBytes ? part : this.#joined(part);
      if (part.length < missing) {
        return;
      }
      this.#headFilled = 0;
      this.#body = undefined;
      this.#bodyFilled = 0;
      take(message);
    }
  }

  #addToHead(byte: number): void {
    if (this.#headFilled++ === 0) {
      this.#flags = byte;
      this.#bodyBytes = 0;
    } else {
      this.#bodyBytes = this.#bodyBytes * 256 + byte;
    }
    if (this.#headFilled < HEAD_BYTES) {
      return;
    }
    if (this.#flags !== 0) {
      const message = `a message came with the flags ${this.#flags}, unasked for`;
      throw new ConnectError(message, Code.Internal);
    }
    if (this.#bodyBytes > this.#mostBytes) {
      const message = `a message of ${this.#bodyBytes} bytes is larger than max ${this.#mostBytes}`;
      throw new ConnectError(message, Code.ResourceExhausted);
    }
  }

  #joined(part: Uint8Array): Uint8Array {
    this.#body ??= new Uint8Array(this.#bodyBytes);
    this.#body.set(part, this.#bodyFilled);
    this.#bodyFilled += part.length;
    return this.#body;
  }
}
