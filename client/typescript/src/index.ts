/**
 * Client of Leyden, a gRPC model server for SDXL-Lightning.
 *
 * @packageDocumentation
 */

export { Client } from "./client.js";
export * from "./errors.js";
export type * from "./events.js";
export type * from "./models.js";
export type * from "./server_state.js";
export {
  type CallHeaders,
  type CallOptions,
  type ClientOptions,
  DEFAULT_TARGET,
  DETACHED_LINGER_S,
  type GenerateOptions,
  LINGER_S,
  type OutputFormat,
  type Pem,
  type PreviewOptions,
  type Solver,
  type TlsOptions,
  type WatchOptions,
} from "./options.js";
export { GenerationStream } from "./stream.js";
export { VERSION } from "./version.js";
