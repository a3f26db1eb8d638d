import { Field } from "./field";

interface SeedFieldProps {
  readonly value: string;
  /** Seed of the generation that is shown, which may be taken again. */
  readonly last: bigint | undefined;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (value: string) => void;
}

/** The seed as it is typed, so that none of its bits is lost. */
export function SeedField({ value, last, errors, onChange }: SeedFieldProps) {
  return (
    <Field name="seed" label="Seed" errors={errors}>
      {(described) => (
        <div class="with-button">
          <input
            {...described}
            type="text"
            inputMode="numeric"
            autocomplete="off"
            placeholder="new each time"
            value={value}
            onInput={(event) => {
              onChange(event.currentTarget.value);
            }}
          />
          {value === "" ? (
            <button
              type="button"
              class="quiet"
              disabled={last === undefined}
              onClick={() => {
                onChange(String(last));
              }}
            >
              Last one
            </button>
          ) : (
            <button
              type="button"
              class="quiet"
              onClick={() => {
                onChange("");
              }}
            >
              New each time
            </button>
          )}
        </div>
      )}
    </Field>
  );
}
