import type { Client } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import type {
  GenerateImageRequest,
  GenerateImageResponse,
  ImageGenerationService,
} from "stubs/leyden/v1/image_generation_service_pb";

import { Assembler, type GenerationEvent } from "./assembler";
import { Failure } from "./failure";

type Images = Client<typeof ImageGenerationService>;

/** For how long a generation goes on, and is kept, while nobody watches it. */
export const LINGER_S = 15;

const FIRST_PAUSE_S = 0.1;
const LONGEST_PAUSE_S = 2;

/**
 * Follows a generation to its end and yields its events, none twice, the summary last.
 *
 * With a request it is begun, else it is watched from event 0. A connection that breaks is taken
 * up again by watching; where the server does not know the generation any more, the request is
 * sent once more, whose seed makes the same images. Throws `Failure` for the generation's own
 * end and for a server that cannot be reached.
 */
export async function* follow(
  images: Images,
  requestId: string,
  request: GenerateImageRequest | undefined,
  signal: AbortSignal,
): AsyncGenerator<GenerationEvent, void, void> {
  const assembler = new Assembler();
  let hasBegun = request === undefined;
  let watches = request === undefined;
  let brokenSince: number | undefined;
  let pauseS = FIRST_PAUSE_S;
  for (;;) {
    try {
      for await (const response of call(watches)) {
        hasBegun = true;
        brokenSince = undefined;
        pauseS = FIRST_PAUSE_S;
        const event = assembler.add(response);
        if (event !== undefined) yield event;
      }
      if (assembler.isDone) return;
      throw new Failure("the stream ended before the generation did", Code.Unavailable);
    } catch (error) {
      if (assembler.isDone) return; // a connection that broke after all had come
      const failure = Failure.from(error);
      if (signal.aborted) throw failure;
      if (request !== undefined && watches && isLost(failure)) {
        assembler.startOver();
        watches = false;
        continue;
      }
      if (!failure.isBroken || !hasBegun) throw failure;
      brokenSince ??= performance.now();
      if (performance.now() + pauseS * 1e3 >= brokenSince + LINGER_S * 1e3) throw failure;
      await pause(pauseS, signal);
      pauseS = Math.min(2 * pauseS, LONGEST_PAUSE_S);
      watches = true;
    }
  }

  function call(watching: boolean): AsyncIterable<GenerateImageResponse> {
    if (!watching && request !== undefined) return images.generateImage(request, { signal });
    const after = assembler.lastIndex;
    return images.watchGeneration(
      after === undefined ? { requestId } : { requestId, afterEventIndex: after },
      { signal },
    );
  }
}

/** Whether the server knows the generation no more, or ended it since nobody watched it. */
function isLost(failure: Failure): boolean {
  return (
    failure.reason === "GENERATION_NOT_FOUND" ||
    (failure.code === Code.Canceled && !["", "CANCELLED_BY_REQUEST"].includes(failure.reason))
  );
}

/** Waits, or ends at once where the signal is given. */
async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1e3);
    signal.addEventListener("abort", done);
  });
}
