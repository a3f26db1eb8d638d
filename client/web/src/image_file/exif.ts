import { Bytes } from "./bytes";

// Sources: Exif 2.32 (CIPA DC-008) and the TIFF 6.0 directories that it lies in; JPEG's markers,
// ITU-T T.81, annex B; WebP, RFC 9649.

export const JPEG_SIGNATURE = "\xff\xd8\xff";
const EXIF_SIGNATURE = "Exif\0\0";
const EXIF_IFD_TAG = 0x8769;
const USER_COMMENT_TAG = 0x9286;
const IFD_ENTRY_BYTES = 12;

/** Returns what the comment of a JPEG may say; RangeError where the file is damaged. */
export function textsOfJpeg(file: Bytes): string[] {
  for (let at = 2; ;) {
    if (file.u8(at) !== 0xff) throw new RangeError("a marker is not where it should be");
    const marker = file.u8(at + 1);
    // The end, or the pixels.
    if (marker === 0xd9 || marker === 0xda) return [];
    const length = file.u16(at + 2);
    if (length < 2) throw new RangeError("a marker is not where it should be");
    if (marker === 0xe1) {
      const texts = textsOfExif(file.part(at + 4, length - 2));
      if (texts.length > 0) return texts;
    }
    at += 2 + length;
  }
}

/** Returns what the comment of a WebP may say; RangeError where the file is damaged. */
export function textsOfWebp(file: Bytes): string[] {
  for (let at = 12; at + 8 <= file.length;) {
    const length = file.u32(at + 4, true);
    if (file.latin1(at, 4) === "EXIF") return textsOfExif(file.part(at + 8, length), false);
    at += 8 + length + (length % 2);
  }
  return [];
}

function textsOfExif(data: Uint8Array<ArrayBuffer>, needsSignature = true): string[] {
  const exif = new Bytes(data);
  const isSigned = data.length >= 6 && exif.latin1(0, 6) === EXIF_SIGNATURE;
  // Some writers of WebP keep JPEG's signature too.
  if (!isSigned && needsSignature) return [];
  const tiff = isSigned ? new Bytes(data.subarray(6)) : exif;
  const order = tiff.latin1(0, 2);
  if (order !== "II" && order !== "MM") throw new RangeError("its Exif has no byte order");
  const little = order === "II";
  const exifAt = entry(tiff, little, tiff.u32(4, little), EXIF_IFD_TAG);
  if (exifAt === undefined) return [];
  const comment = entry(tiff, little, exifAt.value, USER_COMMENT_TAG);
  if (comment === undefined) return [];
  const encoding = tiff.latin1(comment.value, 8);
  const text = tiff.part(comment.value + 8, comment.count - 8);
  if (encoding === "ASCII\0\0\0") return [new TextDecoder().decode(text)];
  // Exif leaves the byte order open. Leyden's is big-endian; a tool that saved the file again may
  // have turned it into that of the directory.
  return encoding === "UNICODE\0"
    ? [new TextDecoder("utf-16be").decode(text), new TextDecoder("utf-16le").decode(text)]
    : [];
}

/** Returns count and value (where it is over four bytes: its place) of a tag. */
function entry(
  tiff: Bytes,
  little: boolean,
  ifdAt: number,
  tag: number,
): { count: number; value: number } | undefined {
  const entries = tiff.u16(ifdAt, little);
  for (let number = 0; number < entries; number += 1) {
    const at = ifdAt + 2 + IFD_ENTRY_BYTES * number;
    if (tiff.u16(at, little) === tag) {
      return { count: tiff.u32(at + 4, little), value: tiff.u32(at + 8, little) };
    }
  }
  return undefined;
}
