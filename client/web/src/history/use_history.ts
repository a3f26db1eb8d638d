import { useCallback, useEffect, useState } from "preact/hooks";

import type { Generation } from "../generation";
import { HistoryStore, type KeptGeneration, type KeptImage } from "./store";
import { thumbnailOf } from "./thumbnail";

const store = new HistoryStore();

/** The generations that this browser keeps. */
export interface History {
  readonly kept: readonly KeptGeneration[];
  /** Why nothing can be kept; empty: it can. */
  readonly problem: string;
  readonly add: (generation: Generation) => Promise<void>;
  readonly remove: (requestId: string) => Promise<void>;
  readonly clear: () => Promise<void>;
}

/** Reads the history, and again after each change. */
export function useHistory(): History {
  const [kept, setKept] = useState<readonly KeptGeneration[]>([]);
  const [problem, setProblem] = useState("");

  const change = useCallback(async (what: () => Promise<void>) => {
    try {
      await what();
      setKept(await store.all());
      setProblem("");
    } catch {
      setProblem("This browser keeps no history: its storage is full or switched off.");
    }
  }, []);

  useEffect(() => {
    void change(async () => {
      // Nothing to change: it is read for the first time.
    });
  }, [change]);

  return {
    kept,
    problem,
    add: useCallback(
      async (generation) => {
        await change(async () => {
          await store.add(await keptOf(generation));
        });
      },
      [change],
    ),
    remove: useCallback(
      async (requestId) => {
        await change(async () => {
          await store.remove(requestId);
        });
      },
      [change],
    ),
    clear: useCallback(async () => {
      await change(async () => {
        await store.clear();
      });
    }, [change]),
  };
}

async function keptOf(generation: Generation): Promise<KeptGeneration> {
  const images: KeptImage[] = [];
  for (const { file, seed, widthPx, heightPx } of generation.variants) {
    if (file === undefined || seed === undefined) continue;
    images.push({
      seed,
      widthPx: widthPx ?? 0,
      heightPx: heightPx ?? 0,
      file,
      thumbnail: await thumbnailOf(file),
    });
  }
  return { request: generation.request, doneAt: new Date(), images };
}
