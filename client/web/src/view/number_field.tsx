import { Field } from "./field";

interface NumberFieldProps {
  readonly name: string;
  readonly label: string;
  readonly value: number | null;
  readonly least: number;
  readonly most: number;
  readonly step?: number;
  readonly hint?: string;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (value: number | null) => void;
}

/** A number that is typed; the server judges it. */
export function NumberField(props: NumberFieldProps) {
  const { name, label, value, least, most, step = 1, hint, errors, onChange } = props;
  return (
    <Field name={name} label={label} hint={hint} errors={errors}>
      {(described) => (
        <input
          {...described}
          type="number"
          inputMode={step < 1 ? "decimal" : "numeric"}
          min={least}
          max={most}
          step={step}
          value={value ?? ""}
          onInput={(event) => {
            onChange(numberOf(event.currentTarget));
          }}
        />
      )}
    </Field>
  );
}

/** A number within a range that is slid to, or typed. */
export function SliderField(props: NumberFieldProps) {
  const { name, label, value, least, most, step = 1, hint, errors, onChange } = props;
  const change = (event: { currentTarget: HTMLInputElement }) => {
    onChange(numberOf(event.currentTarget));
  };
  return (
    <Field
      name={name}
      label={label}
      hint={hint}
      errors={errors}
      aside={
        <input
          class="slider-number"
          type="number"
          aria-label={`${label}, as a number`}
          min={least}
          max={most}
          step={step}
          value={value ?? ""}
          onInput={change}
        />
      }
    >
      {(described) => (
        <input
          {...described}
          type="range"
          min={least}
          max={most}
          step={step}
          value={value ?? least}
          onInput={change}
        />
      )}
    </Field>
  );
}

function numberOf(input: HTMLInputElement): number | null {
  return Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : null;
}
