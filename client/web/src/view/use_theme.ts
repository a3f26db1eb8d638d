import { useEffect, useState } from "preact/hooks";

export type Theme = "auto" | "light" | "dark";

const THEMES: readonly Theme[] = ["auto", "light", "dark"];
const KEPT = "leyden.theme";

/** Returns light, dark or what the system says, and how to turn to the next of them. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(
    () => THEMES.find((one) => one === localStorage.getItem(KEPT)) ?? "auto",
  );
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(KEPT, theme);
  }, [theme]);
  return [
    theme,
    () => {
      setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto");
    },
  ];
}
