import { useEffect, useRef, useState } from "preact/hooks";

import { type Generation, isRunning } from "../generation";
import { standing } from "./status_text";

const SELDOM_MS = 3000;

/** Tells screen readers how a generation goes: its turns at once, its steps now and then. */
export function Announcer({ generation }: { readonly generation: Generation | undefined }) {
  const [said, setSaid] = useState("");
  const last = useRef({ phase: "", at: 0 });
  const text = generation === undefined ? "" : standing(generation);
  const phase = generation?.phase ?? "";
  const mayWait = isRunning(generation);

  useEffect(() => {
    const turned = phase !== last.current.phase;
    const since = performance.now() - last.current.at;
    const timer = setTimeout(
      () => {
        last.current = { phase, at: performance.now() };
        setSaid(text);
      },
      turned || !mayWait ? 0 : Math.max(0, SELDOM_MS - since),
    );
    return () => {
      clearTimeout(timer);
    };
  }, [text, phase, mayWait]);

  return (
    <p class="only-heard" role="status" aria-live="polite" data-announcer>
      {said}
    </p>
  );
}
