/** From the responses of a stream to its events, with the contract checked on the way. */

import { ProtocolError } from "./errors.js";
import type { Image, LeydenEvent } from "./events.js";
import type * as pb from "./gen/leyden/v1/image_generation_service_pb.js";
import * as reading from "./reading.js";

/** The chunks of an image came whose `image` event lies before what is watched. */
export class HeaderMissingError extends Error {}

/** An image whose chunks are on their way. */
interface PartialImage {
  readonly header: pb.Image;
  readonly data: Uint8Array;
  filled: number;
}

/** What the reader of a generation has been shown, by all of its runs. */
class Shown {
  #textEncoded = false;
  readonly #steps = new Map<number, number>();
  readonly #images = new Set<number>();

  /** Tell whether a run that begins anew tells nothing new by `event`. */
  has(event: LeydenEvent): boolean {
    switch (event.kind) {
      case "queued":
        // Who has seen steps is not told of a queue, which comes before them.
        return this.#steps.size > 0;
      case "textEncoded":
        return this.#textEncoded;
      case "denoiseProgress":
        return event.step <= (this.#steps.get(event.imageIndex) ?? 0);
      case "image":
        return this.#images.has(event.imageIndex);
      case "summary":
        return false;
    }
  }

  /** Remember that `event` was shown. */
  note(event: LeydenEvent): void {
    if (event.kind === "textEncoded") {
      this.#textEncoded = true;
    } else if (event.kind === "denoiseProgress") {
      this.#steps.set(event.imageIndex, event.step);
    } else if (event.kind === "image") {
      this.#images.add(event.imageIndex);
    }
  }
}

/**
 * Turns the responses of one generation into events and joins the chunks of images.
 *
 * The responses may come by several calls: those of WatchGeneration go on where the last one
 * ended, and `startOver` begins again at event 0 and shows nothing twice. Every method throws
 * `ProtocolError` where a stream breaks the API's contract.
 */
export class EventAssembler {
  readonly #requestId: string;
  readonly #imageCount: number | undefined;
  readonly #afterEventIndex: bigint;
  readonly #shown = new Shown();
  #nextIndex: bigint | undefined;
  #repeats = false;
  #missingImages = new Set<number>();
  #partial: PartialImage | undefined;
  #done = false;

  /**
   * Expect the events of `requestId`, those after `afterEventIndex` if given. `imageCount` is how
   * many images were asked for, where that is known.
   */
  constructor(requestId: string, imageCount?: number, afterEventIndex?: bigint) {
    this.#requestId = requestId;
    this.#imageCount = imageCount;
    this.#afterEventIndex = afterEventIndex ?? -1n;
    // A generation may have fewer events by now than its watcher says to know.
    this.#nextIndex = afterEventIndex === undefined ? 0n : undefined;
    this.#expectAllImages();
  }

  /** Index of the last response that came; undefined: none did. */
  get lastIndex(): bigint | undefined {
    return this.#nextIndex ? this.#nextIndex - 1n : undefined;
  }

  /** Whether the summary came, which is last. */
  get isDone(): boolean {
    return this.#done;
  }

  /** Expect event 0 next: all events come again, or the generation runs again. */
  startOver(): void {
    this.#nextIndex = 0n;
    this.#repeats = true;
    this.#partial = undefined;
    this.#expectAllImages();
  }

  /**
   * Take the next response; return its event, or undefined where there is none to show. Throws
   * `HeaderMissingError` where an image began before what is watched.
   */
  add(response: pb.GenerateImageResponse): LeydenEvent | undefined {
    this.#checkOrder(response);
    const event = this.#event(response);
    if (event === undefined || BigInt(event.eventIndex) <= this.#afterEventIndex) {
      return undefined;
    }
    if (this.#repeats && this.#shown.has(event)) {
      return undefined;
    }
    this.#shown.note(event);
    return event;
  }

  /** Say that the stream ended with status OK. */
  finish(): void {
    if (!this.#done) {
      const count = this.#nextIndex ?? 0n;
      throw new ProtocolError(`the stream ended after ${String(count)} events, with no summary`);
    }
  }

  #expectAllImages(): void {
    this.#missingImages = new Set(Array(this.#imageCount ?? 0).keys());
  }

  #event(response: pb.GenerateImageResponse): LeydenEvent | undefined {
    const { event } = response;
    switch (event.case) {
      case "queued":
        return reading.queued(response, event.value);
      case "textEncoded":
        return reading.textEncoded(response, event.value);
      case "denoiseProgress":
        this.#checkStep(event.value);
        return reading.denoiseProgress(response, event.value);
      case "image":
        return this.#image(response, event.value);
      case "imageChunk":
        return this.#chunk(response, event.value);
      case "summary":
        this.#checkImages();
        this.#done = true;
        return reading.summary(response, event.value);
      case undefined:
        // A kind of event that a later version of the API added.
        return undefined;
    }
  }

  #checkOrder(response: pb.GenerateImageResponse): void {
    const { eventIndex, requestId } = response;
    if (this.#done) {
      throw new ProtocolError("an event came after the summary");
    }
    if (this.#nextIndex !== undefined && eventIndex !== this.#nextIndex) {
      const [due, came] = [String(this.#nextIndex), String(eventIndex)];
      throw new ProtocolError(`event ${due} was due, event ${came} came`);
    }
    if (requestId !== this.#requestId) {
      throw new ProtocolError(`an event of ${requestId} came in the stream of ${this.#requestId}`);
    }
    this.#nextIndex = eventIndex + 1n;
  }

  #checkStep({ imageIndex }: pb.DenoiseProgress): void {
    if (imageIndex < 0 || (this.#imageCount !== undefined && imageIndex >= this.#imageCount)) {
      throw new ProtocolError(`a step of image ${imageIndex} came, which was not asked for`);
    }
  }

  #checkImages(): void {
    if (this.#missingImages.size > 0) {
      const missing = [...this.#missingImages].join(", ");
      throw new ProtocolError(`the summary came without image ${missing}`);
    }
  }

  #image(response: pb.GenerateImageResponse, header: pb.Image): Image | undefined {
    const { imageIndex, sizeBytes, data } = header;
    if (this.#partial !== undefined) {
      const { header: begun } = this.#partial;
      throw new ProtocolError(
        `image ${imageIndex} came between the chunks of image ${begun.imageIndex}`,
      );
    }
    if (this.#imageCount !== undefined && !this.#missingImages.has(imageIndex)) {
      throw new ProtocolError(`image ${imageIndex} was not asked for, or came twice`);
    }
    if (sizeBytes <= 0n || sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new ProtocolError(`image ${imageIndex} has ${String(sizeBytes)} bytes`);
    }
    if (data.length === 0) {
      this.#partial = { header, data: new Uint8Array(Number(sizeBytes)), filled: 0 };
      return undefined;
    }
    return this.#whole(response, header, data);
  }

  #chunk(response: pb.GenerateImageResponse, chunk: pb.ImageChunk): Image | undefined {
    const partial = this.#partial;
    const { imageIndex, data } = chunk;
    if (partial === undefined && this.#afterEventIndex >= 0n && !this.#repeats) {
      throw new HeaderMissingError();
    }
    if (partial?.header.imageIndex !== imageIndex) {
      throw new ProtocolError(`a chunk of image ${imageIndex} came without its image`);
    }
    if (chunk.offsetBytes !== BigInt(partial.filled)) {
      throw new ProtocolError(
        `the chunk of image ${imageIndex} at ${partial.filled} bytes was due, the one at ` +
          `${String(chunk.offsetBytes)} came`,
      );
    }
    if (partial.filled + data.length > partial.data.length) {
      throw new ProtocolError(`image ${imageIndex} goes past its ${partial.data.length} bytes`);
    }
    partial.data.set(data, partial.filled);
    partial.filled += data.length;
    if (!chunk.last) {
      return undefined;
    }
    this.#partial = undefined;
    return this.#whole(response, partial.header, partial.data.subarray(0, partial.filled));
  }

  #whole(response: pb.GenerateImageResponse, header: pb.Image, data: Uint8Array): Image {
    if (BigInt(data.length) !== header.sizeBytes) {
      const size = String(header.sizeBytes);
      throw new ProtocolError(`image ${header.imageIndex} has ${data.length} of its ${size} bytes`);
    }
    this.#missingImages.delete(header.imageIndex);
    return reading.image(response, header, data);
  }
}
