import { useState } from "preact/hooks";

import { Dialog } from "./dialog";

interface KeyDialogProps {
  readonly hasKey: boolean;
  /** Why it is asked for; empty: its owner wants to change it. */
  readonly problem: string;
  readonly onSet: (key: string, keeps: boolean) => void;
  readonly onClose: () => void;
}

/** Asks for the API key. */
export function KeyDialog({ hasKey, problem, onSet, onClose }: KeyDialogProps) {
  const [key, setKey] = useState("");
  const [keeps, setKeeps] = useState(true);
  return (
    <Dialog label="API key" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim() !== "") onSet(key.trim(), keeps);
        }}
      >
        <h2>API key</h2>
        {problem !== "" && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        <div class="field">
          <label for="api-key">Key</label>
          <input
            id="api-key"
            type="password"
            autocomplete="off"
            spellcheck={false}
            placeholder="ley_…"
            value={key}
            onInput={(event) => {
              setKey(event.currentTarget.value);
            }}
          />
        </div>
        <label class="check">
          <input
            type="checkbox"
            checked={keeps}
            onChange={(event) => {
              setKeeps(event.currentTarget.checked);
            }}
          />
          <span>Keep it until this tab is closed</span>
        </label>
        <p class="hint">It is sent to this server alone, and never written to disk by this page.</p>
        <div class="actions">
          <button type="submit" class="primary">
            Use this key
          </button>
          {hasKey && (
            <button
              type="button"
              onClick={() => {
                onSet("", false);
              }}
            >
              Forget it
            </button>
          )}
          <button type="button" onClick={onClose}>
            Close
          </button>
        </div>
      </form>
    </Dialog>
  );
}
