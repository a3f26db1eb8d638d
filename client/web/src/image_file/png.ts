import { Bytes } from "./bytes";

// Source: PNG, https://www.w3.org/TR/png-3/

export const PNG_SIGNATURE = "\x89PNG\r\n\x1a\n";
const KEYWORD = "leyden";

/** Returns what a PNG's text chunk of Leyden says; RangeError where the file is damaged. */
export async function textOfPng(file: Bytes): Promise<string | undefined> {
  for (let at = PNG_SIGNATURE.length; ;) {
    const length = file.u32(at);
    const kind = file.latin1(at + 4, 4);
    if (kind === "IEND") return undefined;
    if (kind === "iTXt") {
      const text = await textOfChunk(new Bytes(file.part(at + 8, length)));
      if (text !== undefined) return text;
    }
    at += length + 12;
  }
}

async function textOfChunk(chunk: Bytes): Promise<string | undefined> {
  if (chunk.length < KEYWORD.length + 3) return undefined;
  if (chunk.latin1(0, KEYWORD.length + 1) !== `${KEYWORD}\0`) return undefined;
  const isCompressed = chunk.u8(KEYWORD.length + 1) === 1;
  // After the two flags: language, zero, translated keyword, zero, text.
  const language = chunk.data.indexOf(0, KEYWORD.length + 3);
  const translated = chunk.data.indexOf(0, language + 1);
  if (language < 0 || translated < 0) return undefined;
  const text = chunk.data.subarray(translated + 1);
  return isCompressed ? await inflated(text) : new TextDecoder().decode(text);
}

async function inflated(data: Uint8Array<ArrayBuffer>): Promise<string> {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > TEXT_LIMIT) {
      await reader.cancel();
      throw new RangeError("its text is too long");
    }
  }
}

/** Far over the longest prompts that a server takes, and far under what could do harm. */
const TEXT_LIMIT = 2 ** 20;
