package ai.leyden.client;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.nio.file.Path;

/**
 * A small picture of the denoised latents as estimated now; not a VAE decode.
 *
 * @param data the encoded picture
 * @param format encoding of {@code data}
 * @param widthPx width in pixels
 * @param heightPx height in pixels
 */
public record Preview(ByteString data, OutputFormat format, int widthPx, int heightPx) {
  /**
   * Writes the picture to a file, whole or not at all.
   *
   * @param path the file, which is replaced where it is there
   * @throws IOException if it cannot be written
   */
  public void save(Path path) throws IOException {
    WholeFiles.writeAtomically(path, data);
  }
}
