package ai.leyden.runner;

import ai.leyden.client.GenerateRequest;
import ai.leyden.client.LeydenClient;
import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/** Generates by many streams at once over one client, and tells how long each generation took. */
final class Load {
  private Load() {}

  static JsonObject measure(JsonObject ask, LeydenClient connected) {
    int streams = ask.get("streams").getAsInt();
    AtomicInteger left = new AtomicInteger(ask.get("requests").getAsInt());
    Queue<Double> latencies = new ConcurrentLinkedQueue<>();
    ExecutorService threads = Executors.newFixedThreadPool(streams);
    try (LeydenClient client = connected) {
      Callable<Void> stream =
          () -> {
            while (left.getAndDecrement() > 0) {
              long started = System.nanoTime();
              client.generateImage(GenerateRequest.builder("a lake").build());
              latencies.add(since(started));
            }
            return null;
          };
      long started = System.nanoTime();
      for (Future<Void> ended :
          threads.invokeAll(IntStream.range(0, streams).mapToObj(i -> stream).toList())) {
        ended.get();
      }
      return answer(ask.get("name"), latencies, since(started));
    } catch (InterruptedException | ExecutionException error) {
      throw new IllegalStateException(error);
    } finally {
      threads.shutdownNow();
    }
  }

  private static double since(long startedNanos) {
    return (System.nanoTime() - startedNanos) / 1e9;
  }

  private static JsonObject answer(JsonElement name, Queue<Double> latencies, double elapsed) {
    Map<String, Object> measured = new LinkedHashMap<>();
    measured.put("name", name);
    measured.put("latencies_s", latencies);
    measured.put("elapsed_s", elapsed);
    return new Gson().toJsonTree(measured).getAsJsonObject();
  }
}
