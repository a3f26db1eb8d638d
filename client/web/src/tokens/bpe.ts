/**
 * Counts tokens as CLIP's tokenizer does: Sennrich et al. 2016, arXiv 1508.07909, on bytes.
 *
 * Only how many tokens come of a text is wanted, so that merges are enough and no vocabulary is.
 */
export class TokenCounter {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #counts = new Map<string, number>();

  /** `merges`: pairs of symbols with a space between, those that are joined first, first. */
  constructor(merges: readonly string[]) {
    this.#ranks = new Map(merges.map((pair, rank) => [pair, rank]));
  }

  /** Returns how many tokens the text is, without those that mark start and end. */
  count(text: string): number {
    let tokens = 0;
    for (const part of text.split(MARKS)) {
      if (isMark(part)) tokens += 1;
      else for (const word of words(part)) tokens += this.#ofWord(word);
    }
    return tokens;
  }

  #ofWord(word: string): number {
    let count = this.#counts.get(word);
    if (count === undefined) {
      count = this.#merged(symbolsOf(word)).length;
      if (this.#counts.size >= KNOWN_WORDS) this.#counts.clear();
      this.#counts.set(word, count);
    }
    return count;
  }

  #merged(symbols: string[]): string[] {
    for (;;) {
      let best = Infinity;
      let at = -1;
      for (let index = 0; index + 1 < symbols.length; index += 1) {
        const rank = this.#ranks.get(`${symbols[index]} ${symbols[index + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, index];
      }
      if (at < 0) return symbols;
      symbols.splice(at, 2, `${symbols[at]}${symbols[at + 1]}`);
    }
  }
}

/** Words whose counts are kept; a prompt has at most some thousands. */
const KNOWN_WORDS = 8192;

/** What marks start and end is one token where it stands in a prompt. */
const MARKS = /(<\|startoftext\|>|<\|endoftext\|>)/;
const CLIP_WORD =
  /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
// CLIP's words are split once more, by the rule that GPT-2's bytes come with.
const GPT2_WORD = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{White_Space}\p{L}\p{N}]+/gu;

function isMark(text: string): boolean {
  return text === "<|startoftext|>" || text === "<|endoftext|>";
}

function words(text: string): string[] {
  // Letter by letter: of a whole word JavaScript would turn its last sigma into another.
  const lower = Array.from(text.normalize("NFC"), (letter) => letter.toLowerCase()).join("");
  return (lower.match(CLIP_WORD) ?? []).flatMap((word) => word.match(GPT2_WORD) ?? []);
}

function symbolsOf(word: string): string[] {
  const symbols = Array.from(UTF8.encode(word), (byte) => SYMBOLS[byte] ?? "");
  symbols.push(`${symbols.pop() ?? ""}</w>`);
  return symbols;
}

const UTF8 = new TextEncoder();

/** The letter that stands for each byte: its own where it can be seen, else one past 255. */
const SYMBOLS: readonly string[] = (() => {
  let unseen = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isSeen = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(isSeen ? byte : unseen++);
  });
})();
