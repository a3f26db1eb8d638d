package ai.leyden.client;

import ai.leyden.v1.CancelGenerationRequest;
import ai.leyden.v1.CancelGenerationResponse;
import ai.leyden.v1.GenerateImageResponse;
import ai.leyden.v1.ImageGenerationServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.MethodDescriptor;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** The calls that following a generation takes. */
final class ImageCalls {
  /** For how long whoever leaves a generation waits for the server to hear of it. */
  private static final Duration LONGEST_CANCEL = Duration.ofSeconds(2);

  private final Channel channel;

  ImageCalls(Channel channel) {
    this.channel = channel;
  }

  /** Begins a call that streams events to an observer, which says how many. */
  <T> void stream(
      MethodDescriptor<T, GenerateImageResponse> method,
      T request,
      CallOptions options,
      ClientResponseObserver<T, GenerateImageResponse> observer) {
    ClientCalls.asyncServerStreamingCall(channel.newCall(method, options), request, observer);
  }

  /** Ends a generation; completes once the server has heard, or does not answer in time. */
  CompletableFuture<Void> cancelLeft(String requestId) {
    CompletableFuture<Void> heard = new CompletableFuture<>();
    // Whoever leaves may do so since its own context was cancelled.
    Context.ROOT.run(
        () ->
            ClientCalls.asyncUnaryCall(
                channel.newCall(
                    ImageGenerationServiceGrpc.getCancelGenerationMethod(),
                    CallOptions.DEFAULT.withDeadlineAfter(
                        LONGEST_CANCEL.toNanos(), TimeUnit.NANOSECONDS)),
                CancelGenerationRequest.newBuilder().setRequestId(requestId).build(),
                new Completion(heard)));
    return heard;
  }

  /** Says that a call has ended, however: whoever leaves can do nothing more about it. */
  private record Completion(CompletableFuture<Void> ended)
      implements StreamObserver<CancelGenerationResponse> {
    @Override
    public void onNext(CancelGenerationResponse response) {}

    @Override
    public void onError(Throwable thrown) {
      ended.complete(null);
    }

    @Override
    public void onCompleted() {
      ended.complete(null);
    }
  }
}
