import { useState } from "preact/hooks";
import type { Model } from "stubs/leyden/v1/model_service_pb";

import type { FormValues } from "../form";
import { Field } from "./field";
import { NumberField } from "./number_field";

const RATIOS = [
  [1, 1],
  [4, 3],
  [3, 2],
  [16, 9],
  [3, 4],
  [2, 3],
  [9, 16],
] as const;
const OTHER = "other";

interface SizeFieldProps {
  readonly values: FormValues;
  readonly model: Model | undefined;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (change: Partial<FormValues>) => void;
}

/** Width and height: one of the usual shapes with the model's native area, or any two numbers. */
export function SizeField({ values, model, errors, onChange }: SizeFieldProps) {
  const [isOther, setIsOther] = useState(false);
  const shapes = model === undefined ? [] : shapesOf(model);
  const chosen = shapes.find(
    (shape) => shape.widthPx === values.widthPx && shape.heightPx === values.heightPx,
  );
  const typed =
    isOther || chosen === undefined || errors.has("width_px") || errors.has("height_px");
  return (
    <>
      <Field name="size" label="Size" errors={errors}>
        {(described) => (
          <select
            {...described}
            value={typed ? OTHER : chosen.label}
            onChange={(event) => {
              const shape = shapes.find(({ label }) => label === event.currentTarget.value);
              setIsOther(shape === undefined);
              if (shape) onChange({ widthPx: shape.widthPx, heightPx: shape.heightPx });
            }}
          >
            {shapes.map((shape) => (
              <option key={shape.label} value={shape.label}>
                {shape.label}
              </option>
            ))}
            <option value={OTHER}>Other…</option>
          </select>
        )}
      </Field>
      {typed && model && (
        <div class="pair">
          <NumberField
            name="width_px"
            label="Width"
            value={values.widthPx}
            least={model.minSizePx}
            most={model.maxSizePx}
            step={model.sizeMultiplePx}
            errors={errors}
            onChange={(widthPx) => {
              onChange({ widthPx });
            }}
          />
          <NumberField
            name="height_px"
            label="Height"
            value={values.heightPx}
            least={model.minSizePx}
            most={model.maxSizePx}
            step={model.sizeMultiplePx}
            errors={errors}
            onChange={(heightPx) => {
              onChange({ heightPx });
            }}
          />
        </div>
      )}
    </>
  );
}

interface Shape {
  readonly label: string;
  readonly widthPx: number;
  readonly heightPx: number;
}

function shapesOf(model: Model): Shape[] {
  const { defaultWidthPx, defaultHeightPx, minSizePx, maxSizePx, sizeMultiplePx } = model;
  const native = { widthPx: defaultWidthPx, heightPx: defaultHeightPx };
  const area = defaultWidthPx * defaultHeightPx;
  const rounded = (side: number) => Math.round(side / sizeMultiplePx) * sizeMultiplePx;
  const others = RATIOS.map(([across, down]) => ({
    widthPx: rounded(Math.sqrt((area * across) / down)),
    heightPx: rounded(Math.sqrt((area * down) / across)),
    ratio: `${across}:${down}`,
  })).filter(
    ({ widthPx, heightPx }) =>
      Math.min(widthPx, heightPx) >= minSizePx &&
      Math.max(widthPx, heightPx) <= maxSizePx &&
      (widthPx !== native.widthPx || heightPx !== native.heightPx),
  );
  return [
    { ...native, label: `${native.widthPx} × ${native.heightPx}, native` },
    ...others.map(({ widthPx, heightPx, ratio }) => ({
      widthPx,
      heightPx,
      label: `${widthPx} × ${heightPx}, ${ratio}`,
    })),
  ];
}
