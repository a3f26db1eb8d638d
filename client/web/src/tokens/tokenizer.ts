import { TokenCounter } from "./bpe";

/** Start and end, which every prompt has. */
const MARKS = 2;

/** What a model reads prompts by: says how many tokens a prompt is. */
export class Tokenizer {
  private constructor(
    private readonly counters: readonly TokenCounter[],
    private readonly learned: ReadonlyMap<string, number>,
  ) {}

  /** Reads what `tokenizer?model=` answers; nothing where it is not as expected. */
  static from(answer: unknown): Tokenizer | undefined {
    if (!isRecord(answer)) return undefined;
    const { merges, learned_tokens: learned } = answer;
    if (!Array.isArray(merges) || merges.length === 0 || !isRecord(learned)) return undefined;
    const counters = merges.filter(isStrings).map((pairs) => new TokenCounter(pairs));
    const tokens = Object.entries(learned).filter(
      (entry): entry is [string, number] => typeof entry[1] === "number",
    );
    return new Tokenizer(counters, new Map(tokens));
  }

  /** Returns the tokens of a prompt, those of start and end among them; the larger count of two. */
  count(prompt: string): number {
    let learned = 0;
    let rest = prompt;
    for (const [token, vectors] of this.learned) {
      const parts = rest.split(token);
      learned += (parts.length - 1) * vectors;
      rest = parts.join(" ");
    }
    return MARKS + learned + Math.max(0, ...this.counters.map((counter) => counter.count(rest)));
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}
