import type { GenerateImageRequest } from "stubs/leyden/v1/image_generation_service_pb";

import { fileName } from "../file_name";
import type { Phase, Variant } from "../generation";
import { DownloadIcon, SeedIcon } from "./icons";
import { useObjectUrl } from "./use_object_url";

interface TileProps {
  readonly variant: Variant;
  readonly index: number;
  readonly request: GenerateImageRequest;
  readonly phase: Phase;
  readonly onOpen: (variant: Variant) => void;
  readonly onTakeSeed: (seed: bigint) => void;
}

/** One image, from its first preview to its file. */
export function Tile({ variant, index, request, phase, onOpen, onTakeSeed }: TileProps) {
  const { file, preview, seed } = variant;
  const url = useObjectUrl(file ?? preview);
  const width = variant.widthPx ?? request.widthPx;
  const height = variant.heightPx ?? request.heightPx;
  const name = `Image ${index + 1}`;
  const isOver = phase === "failed" || phase === "cancelled";
  return (
    <li class="tile">
      <div
        class={file ? "frame whole" : isOver ? "frame over" : "frame"}
        style={{ aspectRatio: `${width || 1} / ${height || 1}` }}
      >
        {url !== undefined && (
          <img
            src={url}
            width={width}
            height={height}
            alt={file ? `${name}: ${request.prompt}` : `${name}, step ${variant.step}`}
            class={file ? "sharp" : "soft"}
            style={file ? undefined : { filter: `blur(${softness(variant)}px)` }}
          />
        )}
        {file && seed !== undefined && (
          <button
            type="button"
            class="open"
            aria-label={`${name}: show it large`}
            onClick={() => {
              onOpen(variant);
            }}
          />
        )}
        {!file && !isOver && variant.totalSteps > 0 && <Steps variant={variant} />}
      </div>
      {file && url && seed !== undefined && (
        <div class="tile-foot">
          <span class="seed" title="Seed">
            {String(seed)}
          </span>
          <button
            type="button"
            class="icon"
            aria-label={`${name}: use its seed`}
            title="Use this seed"
            onClick={() => {
              onTakeSeed(seed);
            }}
          >
            <SeedIcon />
          </button>
          <a
            class="icon"
            href={url}
            download={fileName(request, seed)}
            aria-label={`${name}: download`}
            title="Download, with its parameters"
          >
            <DownloadIcon />
          </a>
        </div>
      )}
    </li>
  );
}

/** How much a preview is blurred, in pixels: less with every step. */
function softness({ step, totalSteps }: Variant): number {
  return Math.round(10 * (1 - step / Math.max(1, totalSteps))) + 1;
}

/** The steps that are done: each by itself where they are few. */
function Steps({ variant: { step, totalSteps } }: { readonly variant: Variant }) {
  return (
    <span class="steps" aria-hidden="true">
      {totalSteps > FEW_STEPS ? (
        <i>
          <b style={{ width: `${(100 * step) / totalSteps}%` }} />
        </i>
      ) : (
        Array.from({ length: totalSteps }, (_, index) => (
          <i key={index}>{index < step && <b class="whole" />}</i>
        ))
      )}
    </span>
  );
}

const FEW_STEPS = 10;
