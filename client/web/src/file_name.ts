import {
  type GenerateImageRequest,
  OutputFormat,
} from "stubs/leyden/v1/image_generation_service_pb";

/** Returns the name under which an image is downloaded. */
export function fileName(request: GenerateImageRequest, seed: bigint): string {
  const ending = { [OutputFormat.JPEG]: "jpg", [OutputFormat.WEBP]: "webp" }[
    request.outputFormat as number
  ];
  return `${request.model || "leyden"}-${seed}.${ending ?? "png"}`;
}
