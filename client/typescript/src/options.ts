/** What a client and a request may ask for. */

/** Where a server is that was not told otherwise. */
export const DEFAULT_TARGET = "127.0.0.1:8001";

/** For how many seconds a generation outlives a broken connection, unless told otherwise. */
export const LINGER_S = 15;

/** For how many seconds a generation goes on that was started to be left alone. */
export const DETACHED_LINGER_S = 600;

/** A PEM: its bytes, or the path of its file. */
export type Pem = Uint8Array | string;

/** What TLS takes; `true` in its place means the public authorities and no own certificate. */
export interface TlsOptions {
  /** Whom to believe that the server is who it says; absent: Node's list of public ones. */
  readonly rootCertificates?: Pem | undefined;
  /** Where the server asks for a certificate (mutual TLS): the key of ours. */
  readonly privateKey?: Pem | undefined;
  /** Where the server asks for a certificate: ours, and those up to one that it believes. */
  readonly certificateChain?: Pem | undefined;
}

/** How a client connects. */
export interface ClientOptions {
  /** Whether TLS is spoken, and with what. Absent: plaintext. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** API key, which goes with every call: over a network rather with TLS. */
  readonly apiKey?: string | undefined;
  /**
   * Further metadata of every call. A function is asked once for each call or generation, where
   * the caller makes it: so a trace goes along with all that is done for it.
   *
   * ```ts
   * import { context, propagation } from "@opentelemetry/api";
   *
   * const headers = () => {
   *   const carrier = {};
   *   propagation.inject(context.active(), carrier);
   *   return carrier;
   * };
   * ```
   */
  readonly headers?: CallHeaders | (() => CallHeaders) | undefined;
}

/** Metadata by their names, in lower case. */
export type CallHeaders = Readonly<Record<string, string>>;

/** Rule of one denoise step. "unspecified" in a request is the model's default. */
export type Solver =
  "unspecified" | "euler" | "euler_ancestral" | "lcm" | "tcd" | "dpmpp_2m" | "dpmpp_2m_sde";

/** Encoding of an image. "unspecified" in a request is the default. */
export type OutputFormat = "unspecified" | "png" | "jpeg" | "webp";

/** Asks for previews with the denoise progress. */
export interface PreviewOptions {
  /** Longer side in pixels, at most 1,024. Absent or 0: one pixel for each latent. */
  readonly sizePx?: number | undefined;
  /** A preview every so many steps, counted back from the last. Absent or 0: every step. */
  readonly everySteps?: number | undefined;
  /** Encoding; absent means JPEG. */
  readonly format?: OutputFormat | undefined;
}

/** How long a call may take, and what ends it. */
export interface CallOptions {
  /** Deadline of the whole in seconds. Absent: none. */
  readonly timeoutS?: number | undefined;
  /** Ends the call where it is aborted: the call then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What to generate. Absent, zero or empty means the model's default, except for `seed` and
 * `guidanceScale`, where zero is a value. A field that is not here is a `TypeError`, and so is
 * a value of another type.
 */
export interface GenerateOptions extends CallOptions {
  /** Name of the model. */
  readonly model?: string | undefined;
  /** What not to show; it has an effect only where `guidanceScale` is above 1. */
  readonly negativePrompt?: string | undefined;
  /**
   * Seed of the first image, at least 0; image i has seed + i. A number must be a safe
   * integer. Absent: drawn by this client.
   */
  readonly seed?: bigint | number | undefined;
  /** Width in pixels. */
  readonly widthPx?: number | undefined;
  /** Height in pixels. */
  readonly heightPx?: number | undefined;
  /** Number of denoise steps. */
  readonly numInferenceSteps?: number | undefined;
  /** Classifier-free guidance scale; off at or below 1. */
  readonly guidanceScale?: number | undefined;
  /** Rule of a denoise step. */
  readonly solver?: Solver | undefined;
  /** Number of images. */
  readonly imageCount?: number | undefined;
  /** Encoding of the images. Absent: PNG. */
  readonly outputFormat?: OutputFormat | undefined;
  /** Quality of a JPEG or WebP, 1 to 100; not allowed with PNG. */
  readonly outputQuality?: number | undefined;
  /** Asks for previews. */
  readonly preview?: PreviewOptions | undefined;
  /** Name of the generation, unused by any other. Absent: a UUID that this client draws. */
  readonly requestId?: string | undefined;
  /**
   * For how long, in seconds, the generation goes on when its connection breaks, and this
   * client tries to come back to it. 0: a broken connection is an error at once, and the server
   * ends the generation. Absent: 15; with a `timeoutS` the server is told 0 all the same, since it
   * looks at a deadline only where nothing lingers.
   */
  readonly lingerS?: number | undefined;
  /** How soon it is served: 1 (first) to 9 (last). Absent or 0: 5. */
  readonly priority?: number | undefined;
}

/** What to watch, and for how long. */
export interface WatchOptions extends CallOptions {
  /** Index of an event that is known already: those after it come. Absent: all of them. */
  readonly afterEventIndex?: bigint | number | undefined;
}
