import type { GenerateImageRequest } from "stubs/leyden/v1/image_generation_service_pb";

import { fileName } from "../file_name";
import { formatName } from "../form";
import type { Variant } from "../generation";
import { Dialog } from "./dialog";
import { useObjectUrl } from "./use_object_url";

interface ViewerProps {
  readonly variant: Variant;
  readonly request: GenerateImageRequest;
  readonly onClose: () => void;
}

/** One image at its own size, as far as the window lets it. */
export function Viewer({ variant, request, onClose }: ViewerProps) {
  const url = useObjectUrl(variant.file);
  const { seed = 0n, widthPx = 0, heightPx = 0, file } = variant;
  return (
    <Dialog label="The image" kind="viewer" onClose={onClose}>
      {url && <img src={url} width={widthPx} height={heightPx} alt={request.prompt} />}
      <div class="viewer-foot">
        <p class="hint">
          {widthPx} × {heightPx} · seed {String(seed)} · {formatName(request.outputFormat)},{" "}
          {Math.ceil((file?.size ?? 0) / 1024)} KiB
        </p>
        {url && (
          <a class="button" href={url} download={fileName(request, seed)}>
            Download
          </a>
        )}
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
