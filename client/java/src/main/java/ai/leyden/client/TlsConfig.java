package ai.leyden.client;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * How a client makes sure of the server, and who it says that it is. Certificates and keys are PEM,
 * as files, which are read at once, or as bytes.
 *
 * <p>Every method throws {@link IllegalArgumentException} for what is no PEM, or none that Java can
 * read.
 */
public final class TlsConfig {
  private final byte[] rootCertificates;
  private final byte[] certificateChain;
  private final byte[] privateKey;

  private TlsConfig(byte[] rootCertificates, byte[] certificateChain, byte[] privateKey) {
    this.rootCertificates = rootCertificates;
    this.certificateChain = certificateChain;
    this.privateKey = privateKey;
  }

  /** Believes the certificate authorities that Java believes. */
  public TlsConfig() {
    this(null, null, null);
  }

  /**
   * Believes the certificate authorities of a file.
   *
   * @param rootCertificates the authorities' certificates
   * @return the configuration
   * @throws IOException if the file cannot be read
   */
  public static TlsConfig trusting(Path rootCertificates) throws IOException {
    return new TlsConfig(read(rootCertificates), null, null);
  }

  /**
   * Believes certificate authorities.
   *
   * @param rootCertificates the authorities' certificates
   * @return the configuration
   */
  public static TlsConfig trusting(byte[] rootCertificates) {
    return new TlsConfig(pem(rootCertificates, "the root certificates"), null, null);
  }

  /**
   * Returns this configuration with a certificate of the client's own (mutual TLS).
   *
   * @param certificateChain our certificate, and those up to one that the server believes
   * @param privateKey the key of our certificate, in PKCS#8
   * @return another configuration
   * @throws IOException if a file cannot be read
   */
  public TlsConfig withIdentity(Path certificateChain, Path privateKey) throws IOException {
    return new TlsConfig(rootCertificates, read(certificateChain), read(privateKey));
  }

  /**
   * Returns this configuration with a certificate of the client's own (mutual TLS).
   *
   * @param certificateChain our certificate, and those up to one that the server believes
   * @param privateKey the key of our certificate, in PKCS#8
   * @return another configuration
   */
  public TlsConfig withIdentity(byte[] certificateChain, byte[] privateKey) {
    return new TlsConfig(
        rootCertificates,
        pem(certificateChain, "the certificate chain"),
        pem(privateKey, "the private key"));
  }

  ChannelCredentials credentials() {
    TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
    try {
      if (rootCertificates != null) {
        credentials.trustManager(new ByteArrayInputStream(rootCertificates));
      }
      if (certificateChain != null) {
        credentials.keyManager(
            new ByteArrayInputStream(certificateChain), new ByteArrayInputStream(privateKey));
      }
    } catch (IOException error) {
      throw new IllegalArgumentException(error.getMessage(), error);
    }
    return credentials.build();
  }

  private static byte[] read(Path path) throws IOException {
    return pem(Files.readAllBytes(path), path.toString());
  }

  private static byte[] pem(byte[] data, String whence) {
    // gRPC's own error would not say which file.
    if (!new String(data, StandardCharsets.ISO_8859_1).contains("-----BEGIN ")) {
      throw new IllegalArgumentException(
          whence + ": not a PEM, which has a line -----BEGIN ...-----");
    }
    return data.clone();
  }
}
