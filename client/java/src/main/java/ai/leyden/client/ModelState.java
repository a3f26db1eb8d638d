package ai.leyden.client;

/** Whether a model can be used now. */
public enum ModelState {
  /** One that this client does not know. */
  UNSPECIFIED,
  /** Serves requests; one that comes after a long rest may wait for a stage to start. */
  READY,
  /** Being loaded, or without a running replica of a stage. */
  LOADING,
  /** In the repository, but not loaded; {@link Model#filesPresent()} says whether it could be. */
  UNAVAILABLE,
  /** Being unloaded: new requests are refused, those that were accepted finish. */
  UNLOADING
}
