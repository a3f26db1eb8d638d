package ai.leyden.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.Image;
import ai.leyden.v1.ImageChunk;
import com.google.protobuf.ByteString;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What a stream must not do, and what a second run does not tell again. */
final class EventAssemblerTest {
  private final EventAssembler assembler =
      new EventAssembler("name", OptionalInt.of(1), OptionalLong.empty());

  private static List<GenerateImageResponse> run(List<GenerateImageResponse> events) {
    return IntStream.range(0, events.size())
        .mapToObj(
            index ->
                events.get(index).toBuilder().setRequestId("name").setEventIndex(index).build())
        .toList();
  }

  private void add(GenerateImageResponse response) {
    try {
      assembler.add(response);
    } catch (EventAssembler.HeaderMissingException missing) {
      throw new AssertionError(missing);
    }
  }

  @Test
  void aGapIsAnError() {
    List<GenerateImageResponse> run = run(ScriptedServer.events(2));
    add(run.get(0));
    assertThrows(ProtocolException.class, () -> add(run.get(2)));
  }

  @Test
  void aStreamWithoutSummaryIsAnError() {
    run(ScriptedServer.events(2)).subList(0, 3).forEach(this::add);
    assertThrows(ProtocolException.class, assembler::finish);
  }

  @Test
  void anImageThatOutgrowsItsSizeIsAnError() {
    Image header = Image.newBuilder().setSizeBytes(3).build();
    ImageChunk chunk = ImageChunk.newBuilder().setData(ByteString.copyFromUtf8("four")).build();
    List<GenerateImageResponse> run =
        run(
            List.of(
                GenerateImageResponse.newBuilder().setImage(header).build(),
                GenerateImageResponse.newBuilder().setImageChunk(chunk).build()));
    add(run.get(0));
    assertThrows(ProtocolException.class, () -> add(run.get(1)));
  }

  @Test
  void aSecondRunTellsOnlyWhatIsNew() throws EventAssembler.HeaderMissingException {
    List<GenerateImageResponse> run = run(ScriptedServer.events(3));
    run.subList(0, 3).forEach(this::add);
    assembler.startOver();
    for (GenerateImageResponse response : run.subList(0, 3)) {
      assertEquals(Optional.empty(), assembler.add(response));
    }
    assertEquals(3L, assembler.add(run.get(3)).orElseThrow().eventIndex());
  }
}
