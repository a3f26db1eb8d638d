import type { ComponentChildren } from "preact";

function Icon({ children }: { readonly children: ComponentChildren }) {
  return (
    <svg
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const DownloadIcon = () => (
  <Icon>
    <path d="M10 3v9m-4-3.500 4 4 4-4M4 16.500h12" />
  </Icon>
);

export const SeedIcon = () => (
  <Icon>
    <rect x="3.500" y="3.500" width="13" height="13" rx="2.500" />
    <path d="M7 7h.01M13 7h.01M10 10h.01M7 13h.01M13 13h.01" stroke-width="2.400" />
  </Icon>
);

export const AgainIcon = () => (
  <Icon>
    <path d="M16 10a6 6 0 1 1-1.800-4.300M16.500 3v3.500H13" />
  </Icon>
);

export const RemoveIcon = () => (
  <Icon>
    <path d="m5.500 5.500 9 9m0-9-9 9" />
  </Icon>
);

export const KeyIcon = () => (
  <Icon>
    <circle cx="7" cy="13" r="3.500" />
    <path d="m9.500 10.500 6.500-6.500m-3 3 2 2" />
  </Icon>
);

export const OpenIcon = () => (
  <Icon>
    <path d="M10 13V4m-4 3.500 4-4 4 4M4 16.500h12" />
  </Icon>
);

export const LightIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="6.500" />
    <path d="M10 3.500v13a6.500 6.500 0 0 0 0-13Z" fill="currentColor" />
  </Icon>
);
