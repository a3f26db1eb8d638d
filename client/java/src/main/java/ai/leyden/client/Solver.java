package ai.leyden.client;

/** Rule of one denoise step. */
public enum Solver {
  /** In a request: the model's default. In a reply: one that this client does not know. */
  UNSPECIFIED,
  /** Euler's method: deterministic after the initial noise. */
  EULER,
  /** Euler with fresh noise at every step, drawn from the image's own seed. */
  EULER_ANCESTRAL,
  /** Latent consistency, for models distilled so: LCM, LCM-LoRA, DMD2. */
  LCM,
  /** Trajectory consistency, for models distilled so: TCD, Hyper-SD. */
  TCD,
  /** DPM-Solver++ of second order, for models of many steps. */
  DPMPP_2M,
  /** The same with fresh noise at every step, drawn from the image's own seed. */
  DPMPP_2M_SDE
}
