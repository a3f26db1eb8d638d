import { fromJsonString, toJsonString } from "@bufbuild/protobuf";
import {
  type GenerateImageRequest,
  GenerateImageRequestSchema,
} from "stubs/leyden/v1/image_generation_service_pb";

import { EMPTY_FORM, type FormValues } from "./form";

/**
 * What a reload of this tab finds again: the generation that runs, what the form holds, and, where
 * its owner wants that, the API key. The browser drops it with the tab.
 */
const RUNNING = "leyden.running";
const FORM = "leyden.form";
const KEY = "leyden.key";

/** Returns the generation that ran when the page was left. */
export function savedRunning(): GenerateImageRequest | undefined {
  const saved = sessionStorage.getItem(RUNNING);
  if (saved === null) return undefined;
  try {
    return fromJsonString(GenerateImageRequestSchema, saved);
  } catch {
    sessionStorage.removeItem(RUNNING); // of another version of the page
    return undefined;
  }
}

/** Keeps the generation that runs; nothing: none does. */
export function saveRunning(request: GenerateImageRequest | undefined): void {
  if (request === undefined) sessionStorage.removeItem(RUNNING);
  else sessionStorage.setItem(RUNNING, toJsonString(GenerateImageRequestSchema, request));
}

/** Returns what the form held. */
export function savedForm(): FormValues {
  try {
    const saved: unknown = JSON.parse(sessionStorage.getItem(FORM) ?? "{}");
    if (typeof saved !== "object" || saved === null) return EMPTY_FORM;
    const known = Object.entries(saved).filter(([name]) => name in EMPTY_FORM);
    return { ...EMPTY_FORM, ...Object.fromEntries(known) };
  } catch {
    return EMPTY_FORM;
  }
}

/** Keeps what the form holds. */
export function saveForm(values: FormValues): void {
  sessionStorage.setItem(FORM, JSON.stringify(values));
}

/** The API key: in memory, and in the tab's storage where its owner wants that. */
export class ApiKey {
  #key = sessionStorage.getItem(KEY) ?? "";

  get value(): string {
    return this.#key;
  }

  /** Sets the key; empty: there is none. `keeps`: a reload of the tab finds it again. */
  set(key: string, keeps: boolean): void {
    this.#key = key;
    if (key !== "" && keeps) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  }
}
