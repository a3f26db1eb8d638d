import { useEffect, useState } from "preact/hooks";
import type { Model } from "stubs/leyden/v1/model_service_pb";

import type { Tokenizer } from "../tokens/tokenizer";
import { Field } from "./field";

interface PromptFieldProps {
  readonly name: string;
  readonly label: string;
  readonly value: string;
  readonly rows: number;
  readonly placeholder?: string;
  readonly model: Model | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (value: string) => void;
  readonly onSubmit: () => void;
}

/** A prompt, and how much of what the model can read it takes. */
export function PromptField(props: PromptFieldProps) {
  const { name, label, value, rows, placeholder, model, tokenizer, errors } = props;
  const most = model?.maxPromptTokens ?? 0;
  const count = tokenizer?.count(value);
  const over = count === undefined || most === 0 ? 0 : Math.max(0, count - most);
  return (
    <Field
      name={name}
      label={label}
      errors={errors}
      aside={count !== undefined && most > 0 && <TokenMeter count={count} most={most} />}
    >
      {(described) => (
        <>
          <textarea
            {...described}
            rows={rows}
            value={value}
            placeholder={placeholder}
            spellcheck
            onInput={(event) => {
              props.onChange(event.currentTarget.value);
            }}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
              event.preventDefault();
              props.onSubmit();
            }}
          />
          <Overlong name={name} over={over} most={most} />
        </>
      )}
    </Field>
  );
}

function TokenMeter({ count, most }: { readonly count: number; readonly most: number }) {
  return (
    <span class={count > most ? "tokens over" : "tokens"} data-tokens={count}>
      <meter aria-label="Tokens" min={0} max={most} high={most * 0.9} value={Math.min(count, most)}>
        {count}
      </meter>
      <span>
        {count}
        <span class="of"> / {most} tokens</span>
      </span>
    </span>
  );
}

/** Says, also to screen readers, once writing has paused, that a prompt will be cut. */
function Overlong(props: { readonly name: string; readonly over: number; readonly most: number }) {
  const { name, over, most } = props;
  const [said, setSaid] = useState(0);
  useEffect(() => {
    const timer = setTimeout(() => {
      setSaid(over);
    }, 600);
    return () => {
      clearTimeout(timer);
    };
  }, [over]);
  const shown = over === 0 ? 0 : said;
  return (
    <p id={`${name}-overlong`} class="warning" role="status" hidden={shown === 0}>
      {shown > 0 &&
        `${shown === 1 ? "The last token is" : `The last ${shown} tokens are`} past the ${most} ` +
          "that this model reads, and will be cut."}
    </p>
  );
}
