package ai.leyden.client;

/** Which stage of a model. */
public enum StageKind {
  /** One that this client does not know. */
  UNSPECIFIED,
  /** Both text encoders. */
  TEXT_ENCODER,
  /** The UNet. */
  DENOISER,
  /** The VAE, and the encoding of image files. */
  VAE
}
