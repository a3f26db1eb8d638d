package ai.leyden.client;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.util.UUID;

/** Files that are either whole or not there. */
final class WholeFiles {
  private WholeFiles() {}

  /** Writes a file so that no reader ever sees a part of it. */
  static void writeAtomically(Path path, ByteString data) throws IOException {
    boolean exists = Files.exists(path);
    // Through a symlink, so that what it points to is replaced and not the link.
    Path target = exists ? path.toRealPath() : path.toAbsolutePath();
    if (exists && !Files.isRegularFile(target)) {
      // A rename would put a plain file in the place of /dev/null or a pipe.
      write(target, data, WRITE);
      return;
    }
    // Not a temporary file: those are private to their owner, and the target would be too.
    Path part =
        target.resolveSibling("." + target.getFileName() + "." + UUID.randomUUID() + ".part");
    try {
      write(part, data, CREATE_NEW, WRITE);
      Files.move(part, target, ATOMIC_MOVE, REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }

  private static void write(Path path, ByteString data, OpenOption... options) throws IOException {
    try (OutputStream file = Files.newOutputStream(path, options)) {
      data.writeTo(file);
    }
  }
}
