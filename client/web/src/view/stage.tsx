import { useEffect, useRef, useState } from "preact/hooks";
import { Solver } from "stubs/leyden/v1/image_generation_service_pb";

import { solverName } from "../form";
import { type Generation, isRunning, shareDone, type Variant } from "../generation";
import { inWords, standing, timeLeft } from "./status_text";
import { Tile } from "./tile";

interface StageProps {
  readonly generation: Generation | undefined;
  readonly onOpen: (variant: Variant) => void;
  readonly onTakeSeed: (seed: bigint) => void;
}

/** The generation that runs, or ran last: how far it is, and its images. */
export function Stage({ generation, onOpen, onTakeSeed }: StageProps) {
  if (generation === undefined) {
    return (
      <section class="stage empty" aria-label="Images">
        <p>Your images appear here, and sharpen while they are made.</p>
        <p class="hint">
          Drop an image that Leyden made anywhere on this page to take it up again.
        </p>
      </section>
    );
  }
  return <Shown {...{ generation, onOpen, onTakeSeed }} />;
}

function Shown({
  generation,
  onOpen,
  onTakeSeed,
}: StageProps & { readonly generation: Generation }) {
  const { request, variants } = generation;
  const stage = useRef<HTMLElement>(null);
  useEffect(() => {
    // Below the form, on a phone, it would not be seen to begin.
    if (window.matchMedia("(max-width: 820px)").matches) stage.current?.scrollIntoView();
  }, [request.requestId]);
  return (
    <section ref={stage} class="stage" aria-label="Images" aria-busy={isRunning(generation)}>
      <Standing generation={generation} />
      <ul class={`grid of-${variants.length === 1 ? "one" : "many"}`} data-phase={generation.phase}>
        {variants.map((variant, index) => (
          <Tile
            key={`${request.requestId} ${index}`}
            variant={variant}
            index={index}
            request={request}
            phase={generation.phase}
            onOpen={onOpen}
            onTakeSeed={onTakeSeed}
          />
        ))}
      </ul>
      {generation.warnings.length > 0 && (
        <ul class="warnings" aria-label="Warnings">
          {generation.warnings.map((warning) => (
            <li key={`${warning.reason} ${warning.field}`} class="warning">
              {warning.message}
            </li>
          ))}
        </ul>
      )}
      <p class="about">
        <q>{request.prompt}</q>
        <span>{madeBy(generation)}</span>
      </p>
    </section>
  );
}

function Standing({ generation }: { readonly generation: Generation }) {
  const now = useNow(isRunning(generation));
  const left = timeLeft(generation, now);
  const total = generation.totalS === undefined ? "" : `in ${inWords(generation.totalS)}`;
  const share = shareDone(generation);
  return (
    <div class="standing">
      <p>
        <strong>{standing(generation)}</strong> <span>{left || total}</span>
      </p>
      {isRunning(generation) && (
        <progress
          aria-label="Denoise steps"
          max={1}
          // Without a value it is one that waits.
          {...(generation.phase === "sent" || generation.phase === "queued"
            ? {}
            : { value: share })}
        />
      )}
    </div>
  );
}

function madeBy({ request }: Generation): string {
  const parts = [
    request.model,
    `${request.widthPx} × ${request.heightPx}`,
    `${request.numInferenceSteps} ${request.numInferenceSteps === 1 ? "step" : "steps"}`,
    request.guidanceScale === undefined
      ? ""
      : `guidance ${Number(request.guidanceScale.toFixed(2))}`,
    request.solver === Solver.UNSPECIFIED ? "" : solverName(request.solver),
  ];
  return parts.filter((part) => part !== "").join(" · ");
}

/** Returns the time, as `performance.now()`, a few times a second while it matters. */
function useNow(matters: boolean): number {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    if (!matters) return;
    const timer = setInterval(() => {
      setNow(performance.now());
    }, 250);
    return () => {
      clearInterval(timer);
    };
  }, [matters]);
  return now;
}
