import type { Model } from "stubs/leyden/v1/model_service_pb";
import { ModelState } from "stubs/leyden/v1/model_service_pb";
import { OutputFormat } from "stubs/leyden/v1/image_generation_service_pb";

import { formatName, type FormValues, hasGuidance, moved, solverName } from "../form";
import type { Tokenizer } from "../tokens/tokenizer";
import { ChoiceField } from "./choice_field";
import { Field } from "./field";
import { NumberField, SliderField } from "./number_field";
import { PromptField } from "./prompt_field";
import { SeedField } from "./seed_field";
import { SizeField } from "./size_field";

interface ControlsProps {
  readonly values: FormValues;
  readonly models: readonly Model[];
  readonly model: Model | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly lastSeed: bigint | undefined;
  readonly errors: ReadonlyMap<string, string>;
  readonly isRunning: boolean;
  readonly onChange: (change: Partial<FormValues>) => void;
  readonly onSubmit: () => void;
  readonly onCancel: () => void;
}

/** All that a request says. */
export function Controls(props: ControlsProps) {
  const { values, models, model, tokenizer, errors, isRunning, onChange, onSubmit } = props;
  const guided = model !== undefined && hasGuidance(model);
  return (
    <form
      class="controls"
      aria-label="What to generate"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      <PromptField
        name="prompt"
        label="Prompt"
        rows={4}
        placeholder="a red mountain over a lake at dawn"
        value={values.prompt}
        model={model}
        tokenizer={tokenizer}
        errors={errors}
        onChange={(prompt) => {
          onChange({ prompt });
        }}
        onSubmit={onSubmit}
      />
      {model && model.knownWords.length > 0 && <KnownWords words={model.knownWords} />}
      {guided && (
        <PromptField
          name="negative_prompt"
          label="Negative prompt"
          rows={2}
          value={values.negativePrompt}
          model={model}
          tokenizer={tokenizer}
          errors={errors}
          onChange={(negativePrompt) => {
            onChange({ negativePrompt });
          }}
          onSubmit={onSubmit}
        />
      )}
      <Field
        name="model"
        label="Model"
        errors={errors}
        hint={model && (model.unavailableReason || model.description)}
      >
        {(described) => (
          <select
            {...described}
            value={values.model}
            disabled={models.length === 0}
            onChange={(event) => {
              const chosen = models.find(({ name }) => name === event.currentTarget.value);
              if (chosen) onChange(moved(values, model, chosen));
            }}
          >
            {values.model === "" && <option value="">No model is ready</option>}
            {models.map(({ name, state }) => (
              <option
                key={name}
                value={name}
                disabled={state !== ModelState.READY && name !== values.model}
              >
                {name}
                {state === ModelState.READY ? "" : `, ${STATES.get(state) ?? "not ready"}`}
              </option>
            ))}
          </select>
        )}
      </Field>
      <SizeField values={values} model={model} errors={errors} onChange={onChange} />
      {model && <Steps values={values} model={model} errors={errors} onChange={onChange} />}
      {guided && (
        <SliderField
          name="guidance_scale"
          label="Guidance"
          value={values.guidance}
          least={model.minGuidanceScale}
          most={model.maxGuidanceScale}
          step={0.1}
          errors={errors}
          onChange={(guidance) => {
            onChange({ guidance });
          }}
        />
      )}
      {model && model.solvers.length > 1 && (
        <Field name="solver" label="Solver" errors={errors}>
          {(described) => (
            <select
              {...described}
              value={values.solver}
              onChange={(event) => {
                onChange({
                  solver: model.solvers[event.currentTarget.selectedIndex] ?? values.solver,
                });
              }}
            >
              {model.solvers.map((solver) => (
                <option key={solver} value={solver}>
                  {solverName(solver)}
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
      <div class="pair">
        <NumberField
          name="image_count"
          label="Variants"
          value={values.imageCount}
          least={1}
          most={model?.maxImageCount ?? 1}
          errors={errors}
          onChange={(imageCount) => {
            onChange({ imageCount });
          }}
        />
        <SeedField
          value={values.seed}
          last={props.lastSeed}
          errors={errors}
          onChange={(seed) => {
            onChange({ seed });
          }}
        />
      </div>
      <ChoiceField
        name="output_format"
        label="Format"
        value={values.format}
        choices={(model?.outputFormats ?? [OutputFormat.PNG]).map((format) => ({
          value: format,
          label: formatName(format),
        }))}
        errors={errors}
        onChange={(format) => {
          onChange({ format });
        }}
      />
      {values.format !== OutputFormat.PNG && (
        <SliderField
          name="output_quality"
          label="Quality"
          value={values.quality}
          least={1}
          most={100}
          errors={errors}
          onChange={(quality) => {
            onChange({ quality });
          }}
        />
      )}
      <div class="actions">
        <button
          type="submit"
          class="primary"
          disabled={model?.state !== ModelState.READY}
          aria-keyshortcuts="Control+Enter"
        >
          {isRunning ? "Generate anew" : "Generate"}
        </button>
        {/* Never disabled, or it would lose the keyboard's focus when a generation ends. */}
        <button
          type="button"
          aria-disabled={!isRunning}
          onClick={() => {
            if (isRunning) props.onCancel();
          }}
        >
          Cancel
        </button>
      </div>
    </form>
  );
}

function Steps(props: {
  readonly values: FormValues;
  readonly model: Model;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (change: Partial<FormValues>) => void;
}) {
  const { values, model, errors, onChange } = props;
  const { minNumInferenceSteps: least, maxNumInferenceSteps: most } = model;
  if (least === most) {
    return (
      <p class="fixed">
        <span>Steps</span>
        <span>{least}, as this model was made for</span>
      </p>
    );
  }
  return (
    <SliderField
      name="num_inference_steps"
      label="Steps"
      value={values.steps}
      least={least}
      most={most}
      errors={errors}
      onChange={(steps) => {
        onChange({ steps });
      }}
    />
  );
}

function KnownWords({ words }: { readonly words: readonly string[] }) {
  return (
    <details class="known-words">
      <summary>This model knows {words.length} words</summary>
      <p>{words.join(", ")}</p>
    </details>
  );
}

const STATES: ReadonlyMap<ModelState, string> = new Map([
  [ModelState.LOADING, "loading"],
  [ModelState.UNAVAILABLE, "not loaded"],
  [ModelState.UNLOADING, "being unloaded"],
]);
