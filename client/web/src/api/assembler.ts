import type { GenerateImageResponse, Image } from "stubs/leyden/v1/image_generation_service_pb";

type Sent = GenerateImageResponse["event"];

/** An event of a generation: as the API has it, but images are whole, and chunks are none. */
export type GenerationEvent = Exclude<Sent, { case: "imageChunk" } | { case: undefined }>;

/** A stream that does not keep to the API's contract. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/**
 * Joins the chunks of images, and passes over what was shown before.
 *
 * The responses may come by several calls: those of WatchGeneration go on where the last one
 * ended; `startOver` begins again at event 0 and shows nothing twice.
 */
export class Assembler {
  #nextIndex = 0n;
  #repeats = false;
  #done = false;
  #partial: { header: Image; data: Uint8Array<ArrayBuffer>; length: number } | undefined;
  readonly #steps = new Map<number, number>();
  readonly #images = new Set<number>();
  #textEncoded = false;

  /** Index of the last response that came. */
  get lastIndex(): bigint | undefined {
    return this.#nextIndex > 0n ? this.#nextIndex - 1n : undefined;
  }

  /** Whether the summary came, which is last. */
  get isDone(): boolean {
    return this.#done;
  }

  /** Expects event 0 next: the generation runs again. */
  startOver(): void {
    this.#nextIndex = 0n;
    this.#repeats = true;
    this.#partial = undefined;
  }

  /** Takes the next response and returns its event, or nothing where there is none to show. */
  add(response: GenerateImageResponse): GenerationEvent | undefined {
    if (response.eventIndex !== this.#nextIndex) {
      throw new ProtocolError(
        `event ${this.#nextIndex} was due, event ${response.eventIndex} came`,
      );
    }
    this.#nextIndex += 1n;
    const event = this.#whole(response.event);
    if (event === undefined || (this.#repeats && this.#wasShown(event))) return undefined;
    this.#note(event);
    return event;
  }

  #whole(event: Sent): GenerationEvent | undefined {
    switch (event.case) {
      case "image": {
        if (event.value.data.length > 0) return event;
        const data = new Uint8Array(Number(event.value.sizeBytes));
        this.#partial = { header: event.value, data, length: 0 };
        return undefined;
      }
      case "imageChunk": {
        const { imageIndex, offsetBytes, data, last } = event.value;
        const partial = this.#partial;
        if (partial?.header.imageIndex !== imageIndex) {
          throw new ProtocolError(`a chunk of image ${imageIndex} came without its image`);
        }
        if (Number(offsetBytes) !== partial.length) {
          throw new ProtocolError(`a chunk of image ${imageIndex} came out of order`);
        }
        const end = partial.length + data.length;
        if (end > partial.data.length || (last && end < partial.data.length)) {
          throw new ProtocolError(`image ${imageIndex} is not ${partial.data.length} bytes long`);
        }
        partial.data.set(data, partial.length);
        partial.length = end;
        if (!last) return undefined;
        this.#partial = undefined;
        return { case: "image", value: { ...partial.header, data: partial.data } };
      }
      default:
        // Without a case: a kind of event that a later version of the API added.
        return event.case === undefined ? undefined : event;
    }
  }

  #wasShown(event: GenerationEvent): boolean {
    switch (event.case) {
      case "queued":
        // Who has seen steps is not told of a line, which comes before them.
        return this.#steps.size > 0;
      case "textEncoded":
        return this.#textEncoded;
      case "denoiseProgress":
        return event.value.step <= (this.#steps.get(event.value.imageIndex) ?? 0);
      case "image":
        return this.#images.has(event.value.imageIndex);
      case "summary":
        return false;
    }
  }

  #note(event: GenerationEvent): void {
    if (event.case === "textEncoded") this.#textEncoded = true;
    if (event.case === "denoiseProgress") this.#steps.set(event.value.imageIndex, event.value.step);
    if (event.case === "image") this.#images.add(event.value.imageIndex);
    if (event.case === "summary") this.#done = true;
  }
}
