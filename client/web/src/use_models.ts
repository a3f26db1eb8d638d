import { useCallback, useEffect, useState } from "preact/hooks";
import type { Model } from "stubs/leyden/v1/model_service_pb";
import { ModelState } from "stubs/leyden/v1/model_service_pb";

import type { Server } from "./api/client";
import { Failure } from "./api/failure";

const AGAIN_S = 3;

/** The models of the server. */
export interface Models {
  /** All of them, by name; nothing: not known yet. */
  readonly all: readonly Model[] | undefined;
  readonly failure: Failure | undefined;
  /** Asks once more. */
  readonly refresh: () => void;
}

/** Asks which models there are, and again while none can be used. */
export function useModels(server: Server): Models {
  const [all, setAll] = useState<readonly Model[]>();
  const [failure, setFailure] = useState<Failure>();
  const [asked, setAsked] = useState(0);
  const refresh = useCallback(() => {
    setAsked((times) => times + 1);
  }, []);

  useEffect(() => {
    const left = new AbortController();
    let timer = 0;
    const again = () => {
      timer = window.setTimeout(refresh, AGAIN_S * 1e3);
    };
    server.listModels(left.signal).then(
      (models) => {
        setAll(models);
        setFailure(undefined);
        if (!models.some((model) => model.state === ModelState.READY)) again();
      },
      (error: unknown) => {
        if (left.signal.aborted) return;
        const failed = Failure.from(error);
        setFailure(failed);
        if (failed.isBroken || failed.retryAfterS !== undefined) again();
      },
    );
    return () => {
      left.abort();
      clearTimeout(timer);
    };
  }, [server, asked, refresh]);

  return { all, failure, refresh };
}
