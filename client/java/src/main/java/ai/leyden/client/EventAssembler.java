package ai.leyden.client;

import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.Image;
import ai.leyden.v1.ImageChunk;
import com.google.protobuf.ByteString;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Turns the responses of one generation into events, joins the chunks of images, and checks the
 * API's contract on the way.
 *
 * <p>The responses may come by several calls: those of WatchGeneration go on where the last one
 * ended, and {@link #startOver} begins again at event 0 and shows nothing twice. Every method
 * throws {@link ProtocolException} where a stream breaks the contract.
 */
final class EventAssembler {
  private final String requestId;

  /** How many images were asked for; empty: not known. */
  private final OptionalInt imageCount;

  private final long afterEventIndex;
  private final ShownEvents shown = new ShownEvents();
  private SortedSet<Integer> missingImages;

  /** Empty: any may come next, since a generation may have fewer events than its watcher knows. */
  private OptionalLong nextIndex;

  private boolean repeats;
  private Image partialHeader;
  private ByteString partialData = ByteString.EMPTY;

  /** Read by whoever leaves, too. */
  private volatile boolean done;

  EventAssembler(String requestId, OptionalInt imageCount, OptionalLong afterEventIndex) {
    this.requestId = requestId;
    this.imageCount = imageCount;
    this.afterEventIndex = afterEventIndex.orElse(-1);
    this.nextIndex = afterEventIndex.isPresent() ? OptionalLong.empty() : OptionalLong.of(0);
    this.missingImages = allImages();
  }

  /** The chunks of an image came whose header lies before what is watched. */
  static final class HeaderMissingException extends Exception {
    private static final long serialVersionUID = 1L;
  }

  /** Index of the last response that came; empty: none did. */
  OptionalLong lastIndex() {
    return nextIndex.orElse(0) == 0
        ? OptionalLong.empty()
        : OptionalLong.of(nextIndex.getAsLong() - 1);
  }

  /** Whether the summary came, which is last. */
  boolean isDone() {
    return done;
  }

  /** Expects event 0 next: all events come again, or the generation runs again. */
  void startOver() {
    nextIndex = OptionalLong.of(0);
    repeats = true;
    missingImages = allImages();
    partialHeader = null;
    partialData = ByteString.EMPTY;
  }

  /** Takes the next response; returns its event, or empty where there is none to show. */
  Optional<Event> add(GenerateImageResponse response) throws HeaderMissingException {
    checkOrder(response);
    Optional<Event> event = event(response).filter(this::isNew);
    event.ifPresent(shown::note);
    return event;
  }

  /** Says that the stream ended with status OK. */
  void finish() {
    if (!done) {
      throw new ProtocolException(
          "the stream ended after %d events, with no summary".formatted(nextIndex.orElse(0)));
    }
  }

  private SortedSet<Integer> allImages() {
    return IntStream.range(0, imageCount.orElse(0))
        .boxed()
        .collect(Collectors.toCollection(TreeSet::new));
  }

  private boolean isNew(Event event) {
    return event.eventIndex() > afterEventIndex && !(repeats && shown.has(event));
  }

  private void checkOrder(GenerateImageResponse response) {
    if (done) {
      throw new ProtocolException("an event came after the summary");
    }
    if (nextIndex.isPresent() && response.getEventIndex() != nextIndex.getAsLong()) {
      throw new ProtocolException(
          "event %d was due, event %d came"
              .formatted(nextIndex.getAsLong(), response.getEventIndex()));
    }
    if (!response.getRequestId().equals(requestId)) {
      throw new ProtocolException(
          "an event of '%s' came in the stream of '%s'"
              .formatted(response.getRequestId(), requestId));
    }
    nextIndex = OptionalLong.of(response.getEventIndex() + 1);
  }

  private Optional<Event> event(GenerateImageResponse response) throws HeaderMissingException {
    return switch (response.getEventCase()) {
      case QUEUED -> Optional.of(Wire.queued(response));
      case TEXT_ENCODED -> Optional.of(Wire.textEncoded(response));
      case DENOISE_PROGRESS -> Optional.of(progress(response));
      case IMAGE -> image(response);
      case IMAGE_CHUNK -> chunk(response);
      case SUMMARY -> Optional.of(summary(response));
      // A kind of event that a later version of the API added.
      case EVENT_NOT_SET -> Optional.empty();
    };
  }

  private Event progress(GenerateImageResponse response) {
    int image = response.getDenoiseProgress().getImageIndex();
    if (image < 0 || (imageCount.isPresent() && image >= imageCount.getAsInt())) {
      throw new ProtocolException(
          "a step of image %d came, which was not asked for".formatted(image));
    }
    return Wire.denoiseProgress(response);
  }

  private Optional<Event> image(GenerateImageResponse response) {
    Image header = response.getImage();
    if (partialHeader != null) {
      throw new ProtocolException(
          "image %d came between the chunks of image %d"
              .formatted(header.getImageIndex(), partialHeader.getImageIndex()));
    }
    if (imageCount.isPresent() && !missingImages.contains(header.getImageIndex())) {
      throw new ProtocolException(
          "image %d was not asked for, or came twice".formatted(header.getImageIndex()));
    }
    if (header.getSizeBytes() <= 0) {
      throw new ProtocolException(
          "image %d has %d bytes".formatted(header.getImageIndex(), header.getSizeBytes()));
    }
    if (header.getData().isEmpty()) {
      partialHeader = header;
      partialData = ByteString.EMPTY;
      return Optional.empty();
    }
    return Optional.of(whole(response, header, header.getData()));
  }

  private Optional<Event> chunk(GenerateImageResponse response) throws HeaderMissingException {
    ImageChunk chunk = response.getImageChunk();
    if (partialHeader == null && afterEventIndex >= 0 && !repeats) {
      throw new HeaderMissingException();
    }
    if (partialHeader == null || partialHeader.getImageIndex() != chunk.getImageIndex()) {
      throw new ProtocolException(
          "a chunk of image %d came without its image".formatted(chunk.getImageIndex()));
    }
    if (chunk.getOffsetBytes() != partialData.size()) {
      throw new ProtocolException(
          "the chunk of image %d at %d bytes was due, the one at %d came"
              .formatted(chunk.getImageIndex(), partialData.size(), chunk.getOffsetBytes()));
    }
    // Checked at every chunk: a size that was promised bounds the memory.
    if (chunk.getOffsetBytes() + chunk.getData().size() > partialHeader.getSizeBytes()) {
      throw new ProtocolException(
          "image %d goes past its %d bytes"
              .formatted(chunk.getImageIndex(), partialHeader.getSizeBytes()));
    }
    partialData = partialData.concat(chunk.getData());
    if (!chunk.getLast()) {
      return Optional.empty();
    }
    Image header = partialHeader;
    ByteString data = partialData;
    partialHeader = null;
    partialData = ByteString.EMPTY;
    return Optional.of(whole(response, header, data));
  }

  private Event whole(GenerateImageResponse response, Image header, ByteString data) {
    if (data.size() != header.getSizeBytes()) {
      throw new ProtocolException(
          "image %d has %d of its %d bytes"
              .formatted(header.getImageIndex(), data.size(), header.getSizeBytes()));
    }
    missingImages.remove(header.getImageIndex());
    return Wire.image(response, header, data);
  }

  private Event summary(GenerateImageResponse response) {
    if (!missingImages.isEmpty()) {
      throw new ProtocolException("the summary came without image " + missingImages);
    }
    done = true;
    return Wire.summary(response);
  }
}
