package ai.leyden.client;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Flow;

/** Gathers a generation for who wants it whole, and wakes that thread once, at its end. */
final class FinishedGeneration implements Following.Handover {
  private final List<Event.Image> images = new ArrayList<>();
  private final CompletableFuture<Generation> finished = new CompletableFuture<>();
  private Event.Summary summary;

  /** Waits for the end of the generation that {@code following} follows to here. */
  Generation await(Following following) {
    try {
      return finished.get();
    } catch (InterruptedException interrupt) {
      following.leave().join();
      Thread.currentThread().interrupt();
      throw Failures.interrupted(interrupt);
    } catch (ExecutionException failed) {
      throw (RuntimeException) failed.getCause();
    }
  }

  /** Returns a generation of these images, in the order of their indices. */
  static Generation of(List<Event.Image> images, Event.Summary summary) {
    images.sort(Comparator.comparingInt(Event.Image::imageIndex));
    return new Generation(List.copyOf(images), summary);
  }

  @Override
  public void onSubscribe(Flow.Subscription begun) {
    begun.request(Long.MAX_VALUE);
  }

  @Override
  public void onNext(Event event) {
    if (event instanceof Event.Image image) {
      images.add(image);
    } else if (event instanceof Event.Summary last) {
      summary = last;
    }
  }

  @Override
  public void onError(Throwable error) {
    finished.completeExceptionally(error);
  }

  @Override
  public void onComplete() {
    // A stream that ends without an error has had its summary.
    finished.complete(of(images, summary));
  }
}
