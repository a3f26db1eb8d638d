/** What a server does now. */

/** Which stage of a model: both text encoders, the UNet, or the VAE with the encoding of files. */
export type StageKind = "unspecified" | "text_encoder" | "denoiser" | "vae";

/** A stage over all of its replicas. */
export interface StageState {
  /** That of its Serve application; in a server of one process, what that would be. */
  readonly name: string;
  /** Which stage of a model it is. */
  readonly kind: StageKind;
  /** Names of the models that share it. */
  readonly models: readonly string[];
  /** Replicas that run. */
  readonly runningReplicas: number;
  /** Replicas that there are to be now. */
  readonly wantedReplicas: number;
  /** Prompts (of text encoders) or images that its replicas work on. */
  readonly runningCount: number;
  /** Prompts or images that wait for it; for a denoiser in the Gateways' lines too. */
  readonly waitingCount: number;
  /**
   * The part of the last 10 s in which its model ran, from 0 to 1: the mean over its replicas.
   * Absent: none of them has answered.
   */
  readonly busyShare: number | undefined;
  /** Why it is gone; empty where it is there, is started, or rests. */
  readonly problem: string;
}

/** A process of the server that speaks gRPC. */
export interface GatewayState {
  /** Its name, as `Bill.gatewayReplica`. */
  readonly replica: string;
  /** For how many seconds it has been there. */
  readonly uptimeS: number;
  /** Whether it refuses new requests because it ends. */
  readonly draining: boolean;
  /** Calls that watch a generation. */
  readonly openStreamCount: number;
  /** Images that it has accepted and no denoise step has begun for. */
  readonly waitingImageCount: number;
}

/** What a server does now. */
export interface ServerState {
  /** The stages of all loaded models, each once, in the order in which an image goes through. */
  readonly stages: readonly StageState[];
  /** Those whose lines are counted, the one that has answered first. */
  readonly gateways: readonly GatewayState[];
  /** Name of the stage that holds up the others; empty: none does. */
  readonly bottleneck: string;
  /** Why, or why none does. */
  readonly bottleneckReason: string;
}
