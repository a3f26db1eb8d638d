import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { GenerateImageRequest } from "stubs/leyden/v1/image_generation_service_pb";

import { Code } from "@connectrpc/connect";

import type { Server } from "./api/client";
import { Failure } from "./api/failure";
import { follow } from "./api/follow";
import { after, begun, type Generation, isRunning } from "./generation";
import { savedRunning, saveRunning } from "./session";

const CANCEL_AGAIN_MS = 200;
const CANCEL_TRIES = 10;

/** The generation that the page shows, and what can be done with it. */
export interface Running {
  readonly generation: Generation | undefined;
  /** Begins a generation; one that runs is ended first. */
  readonly start: (request: GenerateImageRequest) => void;
  /** Ends the one that runs, here and at the server. */
  readonly cancel: () => void;
  /** Shows another generation, that is done. */
  readonly show: (generation: Generation) => void;
}

/**
 * Follows one generation at a time. What ran when the page was left is taken up again.
 * `onDone` is called with each that has come to its good end.
 */
export function useGeneration(server: Server, onDone: (generation: Generation) => void): Running {
  const [generation, setGeneration] = useState<Generation>();
  const current = useRef<{ left: AbortController; request: GenerateImageRequest }>(undefined);
  const done = useRef(onDone);
  done.current = onDone;

  const run = useCallback(
    async (request: GenerateImageRequest, isNew: boolean) => {
      const left = new AbortController();
      const isShown = () => current.current?.left === left;
      current.current = { left, request };
      let state = begun(request);
      const update = (next: Generation) => {
        state = next;
        if (isShown()) setGeneration(next);
      };
      saveRunning(request);
      setGeneration(state);
      try {
        const events = follow(
          server.images,
          request.requestId,
          isNew ? request : undefined,
          left.signal,
        );
        for await (const event of events) update(after(state, event, performance.now()));
        if (isShown()) done.current(state);
      } catch (error) {
        const failure = Failure.from(error);
        const phase = failure.reason === "CANCELLED_BY_REQUEST" ? "cancelled" : "failed";
        update({ ...state, phase, failure });
      } finally {
        if (isShown()) {
          saveRunning(undefined);
          current.current = undefined;
        }
      }
    },
    [server],
  );

  const leave = useCallback(() => {
    const running = current.current;
    if (running === undefined) return;
    current.current = undefined;
    saveRunning(undefined);
    void end(server, running.request.requestId, running.left);
  }, [server]);

  useEffect(() => {
    const request = savedRunning();
    if (request !== undefined) void run(request, false);
    return () => {
      // The page is left, maybe to be loaded again: the linger ends what nobody takes up.
      current.current?.left.abort();
    };
  }, [run]);

  return {
    generation,
    start: useCallback(
      (request) => {
        leave();
        void run(request, true);
      },
      [leave, run],
    ),
    cancel: useCallback(() => {
      leave();
      setGeneration((shown) =>
        shown !== undefined && isRunning(shown) ? { ...shown, phase: "cancelled" } : shown,
      );
    }, [leave]),
    show: useCallback(
      (shown) => {
        leave();
        setGeneration(shown);
      },
      [leave],
    ),
  };
}

/** Ends a generation at the server, then its stream, whose leaving alone would let it linger. */
async function end(server: Server, requestId: string, left: AbortController): Promise<void> {
  try {
    for (let tries = 0; tries < CANCEL_TRIES; tries += 1) {
      try {
        await server.cancel(requestId);
        return;
      } catch (error) {
        // The request may not have reached the server yet.
        if (Failure.from(error).code !== Code.NotFound) return;
        await new Promise((resolve) => setTimeout(resolve, CANCEL_AGAIN_MS));
      }
    }
  } finally {
    left.abort();
  }
}
