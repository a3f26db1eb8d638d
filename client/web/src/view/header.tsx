import { useRef } from "preact/hooks";

import { KeyIcon, LightIcon, OpenIcon } from "./icons";
import { useTheme } from "./use_theme";

interface HeaderProps {
  /** Whether the server can be used, in a word or two. */
  readonly state: string;
  readonly isReady: boolean;
  readonly onFile: (file: File) => void;
  readonly onKey: () => void;
}

/** Name, state of the server, and what concerns the page as a whole. */
export function Header({ state, isReady, onFile, onKey }: HeaderProps) {
  const [theme, turnTheme] = useTheme();
  const input = useRef<HTMLInputElement>(null);
  return (
    <header class="top">
      <h1>
        <img src="icon.svg" alt="" width="24" height="24" /> Leyden
      </h1>
      <p class={isReady ? "state ready" : "state"}>{state}</p>
      <input
        ref={input}
        type="file"
        accept="image/png,image/jpeg,image/webp"
        hidden
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file !== undefined) onFile(file);
        }}
      />
      <button
        type="button"
        class="icon"
        aria-label="Take up an image's parameters"
        title="Take up an image's parameters"
        onClick={() => input.current?.click()}
      >
        <OpenIcon />
      </button>
      <button type="button" class="icon" aria-label="API key" title="API key" onClick={onKey}>
        <KeyIcon />
      </button>
      <button
        type="button"
        class="icon"
        aria-label={`Colours: ${theme}`}
        title={`Colours: ${theme}`}
        onClick={turnTheme}
      >
        <LightIcon />
      </button>
    </header>
  );
}
