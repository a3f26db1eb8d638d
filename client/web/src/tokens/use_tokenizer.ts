import { useEffect, useState } from "preact/hooks";

import type { Server } from "../api/client";
import { Tokenizer } from "./tokenizer";

/** Returns what a model reads prompts by; nothing where the server does not say it (yet). */
export function useTokenizer(server: Server, model: string): Tokenizer | undefined {
  const [known, setKnown] = useState<ReadonlyMap<string, Tokenizer>>(new Map());
  const isKnown = known.has(model);

  useEffect(() => {
    if (model === "" || isKnown) return;
    const left = new AbortController();
    server.tokenizer(model, left.signal).then(
      (answer) => {
        const tokenizer = Tokenizer.from(answer);
        if (tokenizer !== undefined) setKnown((before) => new Map(before).set(model, tokenizer));
      },
      () => {
        // Without it the count is not shown, and the server counts all the same.
      },
    );
    return () => {
      left.abort();
    };
  }, [server, model, isKnown]);

  return known.get(model);
}
