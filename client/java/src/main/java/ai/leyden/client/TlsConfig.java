package ai.leyden.client;

import java.nio.file.Path;
import java.util.Optional;

/**
 * How a client makes sure of the server, and who it says that it is. Every file is a PEM.
 *
 * @param rootCertificates whom to believe that the server is who it says; empty: Java's own list
 * @param identity this client's own certificate, where the server asks for one (mutual TLS)
 */
public record TlsConfig(Optional<Path> rootCertificates, Optional<Identity> identity) {
  /** Believes the certificate authorities that Java believes. */
  public TlsConfig() {
    this(Optional.empty(), Optional.empty());
  }

  /**
   * Believes the certificate authorities of a file.
   *
   * @param certificates the PEM of their certificates
   * @return the configuration
   */
  public static TlsConfig trusting(Path certificates) {
    return new TlsConfig(Optional.of(certificates), Optional.empty());
  }

  /**
   * Returns this configuration with a certificate of the client's own (mutual TLS).
   *
   * @param certificateChain our certificate, and those up to one that the server believes
   * @param privateKey the key of our certificate, in PKCS#8
   * @return another configuration
   */
  public TlsConfig withIdentity(Path certificateChain, Path privateKey) {
    return new TlsConfig(rootCertificates, Optional.of(new Identity(certificateChain, privateKey)));
  }

  /**
   * A certificate and its key.
   *
   * @param certificateChain the certificate, and those up to one that the server believes
   * @param privateKey the certificate's key, in PKCS#8
   */
  public record Identity(Path certificateChain, Path privateKey) {}
}
