interface ChoiceFieldProps<T> {
  readonly name: string;
  readonly label: string;
  readonly value: T;
  readonly choices: readonly { readonly value: T; readonly label: string }[];
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (value: T) => void;
}

/** One of a few, all of them in sight. */
export function ChoiceField<T extends string | number>(props: ChoiceFieldProps<T>) {
  const { name, label, value, choices, errors, onChange } = props;
  const error = errors.get(name);
  const errorId = `${name}-error`;
  return (
    <fieldset class="field" data-field={name} {...(error && { "aria-describedby": errorId })}>
      <legend>{label}</legend>
      <div class="segments">
        {choices.map((choice) => (
          <label key={choice.value} class="segment">
            <input
              type="radio"
              name={name}
              checked={choice.value === value}
              onChange={() => {
                onChange(choice.value);
              }}
            />
            <span>{choice.label}</span>
          </label>
        ))}
      </div>
      {error && (
        <p id={errorId} class="error">
          {error}
        </p>
      )}
    </fieldset>
  );
}
