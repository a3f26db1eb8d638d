import type { ComponentChildren } from "preact";

/** What ties a control to its label, its hint and its error. */
export interface Described {
  readonly id: string;
  readonly "aria-invalid"?: true;
  readonly "aria-describedby"?: string;
}

interface FieldProps {
  /** Name of the field as the API has it; errors find the field by it. */
  readonly name: string;
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly errors: ReadonlyMap<string, string>;
  /** What stands at the end of the label's line. */
  readonly aside?: ComponentChildren;
  readonly children: (described: Described) => ComponentChildren;
}

/** A labelled control, with what is wrong with it. */
export function Field({ name, label, hint, errors, aside, children }: FieldProps) {
  const error = errors.get(name);
  const hintId = `${name}-hint`;
  const errorId = `${name}-error`;
  const describes = [...(hint ? [hintId] : []), ...(error ? [errorId] : [])].join(" ");
  return (
    <div class="field" data-field={name}>
      <div class="field-head">
        <label for={name}>{label}</label>
        {aside}
      </div>
      {children({
        id: name,
        ...(error ? { "aria-invalid": true } : {}),
        ...(describes ? { "aria-describedby": describes } : {}),
      })}
      {hint && (
        <p id={hintId} class="hint">
          {hint}
        </p>
      )}
      {error && (
        <p id={errorId} class="error">
          {error}
        </p>
      )}
    </div>
  );
}
