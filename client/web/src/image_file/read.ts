import { Bytes } from "./bytes";
import { JPEG_SIGNATURE, textsOfJpeg, textsOfWebp } from "./exif";
import { PNG_SIGNATURE, textOfPng } from "./png";

/** What an image file of Leyden's says of its making, by the names that its server wrote. */
export interface FileParameters {
  readonly format: "PNG" | "JPEG" | "WEBP";
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** A file is no PNG, JPEG or WebP, is damaged, or does not say what made it. */
export class ImageFileError extends Error {
  override readonly name = "ImageFileError";
}

/** Reads the parameters that an image file carries. Throws `ImageFileError`. */
export async function readImageFile(file: Blob): Promise<FileParameters> {
  const bytes = new Bytes(new Uint8Array(await file.arrayBuffer()));
  let texts: readonly string[];
  let format: FileParameters["format"];
  try {
    if (bytes.latin1(0, 8) === PNG_SIGNATURE) {
      format = "PNG";
      const text = await textOfPng(bytes);
      texts = text === undefined ? [] : [text];
    } else if (bytes.latin1(0, 3) === JPEG_SIGNATURE) {
      format = "JPEG";
      texts = textsOfJpeg(bytes);
    } else if (bytes.latin1(0, 4) === "RIFF" && bytes.latin1(8, 4) === "WEBP") {
      format = "WEBP";
      texts = textsOfWebp(bytes);
    } else {
      throw new ImageFileError("This is not a PNG, JPEG or WebP image.");
    }
  } catch (error) {
    if (error instanceof ImageFileError) throw error;
    throw new ImageFileError("This image is damaged or cut short.");
  }
  for (const text of texts) {
    const parameters = parsed(text);
    if (parameters !== undefined) return { format, parameters };
  }
  throw new ImageFileError(
    "This image does not say what made it. Only files as Leyden wrote them do; many programs " +
      "and web sites drop it when they save an image again.",
  );
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    // Other tools have JSON in their comments too.
    const isOurs = typeof value === "object" && value !== null && "prompt" in value;
    return isOurs ? value : undefined;
  } catch {
    return undefined;
  }
}
