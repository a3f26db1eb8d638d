package ai.leyden.client;

import ai.leyden.v1.CancelGenerationRequest;
import ai.leyden.v1.CancelGenerationResponse;
import ai.leyden.v1.DenoiseProgress;
import ai.leyden.v1.GenerateImageRequest;
import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.Image;
import ai.leyden.v1.ImageGenerationServiceGrpc;
import ai.leyden.v1.Summary;
import ai.leyden.v1.TextEncoded;
import com.google.protobuf.ByteString;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/** A real gRPC server that sends events written down beforehand, and notes what it hears. */
final class ScriptedServer extends ImageGenerationServiceGrpc.ImageGenerationServiceImplBase
    implements AutoCloseable {
  final BlockingQueue<GenerateImageRequest> requests = new LinkedBlockingQueue<>();
  final BlockingQueue<String> cancels = new LinkedBlockingQueue<>();
  final CountDownLatch left = new CountDownLatch(1);

  private final List<GenerateImageResponse> events;
  private final boolean ends;
  private final Server server;

  /** Sends the events to who generates, and then ends the call, or holds it. */
  ScriptedServer(List<GenerateImageResponse> events, boolean ends) throws IOException {
    this.events = events;
    this.ends = ends;
    this.server =
        Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
            .addService(this)
            .build()
            .start();
  }

  /** The events of one image of so many steps. */
  static List<GenerateImageResponse> events(int steps) {
    GenerateImageResponse encoded =
        GenerateImageResponse.newBuilder()
            .setTextEncoded(TextEncoded.newBuilder().setTokenCount(4))
            .build();
    Stream<GenerateImageResponse> progress =
        IntStream.rangeClosed(1, steps)
            .mapToObj(
                step -> DenoiseProgress.newBuilder().setStep(step).setTotalSteps(steps).build())
            .map(step -> GenerateImageResponse.newBuilder().setDenoiseProgress(step).build());
    ByteString data = ByteString.copyFromUtf8("an image");
    Image image = Image.newBuilder().setData(data).setSizeBytes(data.size()).build();
    Stream<GenerateImageResponse> end =
        Stream.of(
            GenerateImageResponse.newBuilder().setImage(image).build(),
            GenerateImageResponse.newBuilder().setSummary(Summary.getDefaultInstance()).build());
    return Stream.of(Stream.of(encoded), progress, end).flatMap(part -> part).toList();
  }

  String target() {
    return "127.0.0.1:" + server.getPort();
  }

  @Override
  public void generateImage(
      GenerateImageRequest request, StreamObserver<GenerateImageResponse> responses) {
    requests.add(request);
    ((ServerCallStreamObserver<GenerateImageResponse>) responses)
        .setOnCancelHandler(left::countDown);
    for (int index = 0; index < events.size(); index++) {
      responses.onNext(
          events.get(index).toBuilder()
              .setRequestId(request.getRequestId())
              .setEventIndex(index)
              .build());
    }
    if (ends) {
      responses.onCompleted();
    }
  }

  @Override
  public void cancelGeneration(
      CancelGenerationRequest request, StreamObserver<CancelGenerationResponse> response) {
    cancels.add(request.getRequestId());
    response.onNext(CancelGenerationResponse.getDefaultInstance());
    response.onCompleted();
  }

  @Override
  public void close() {
    server.shutdownNow();
  }
}
