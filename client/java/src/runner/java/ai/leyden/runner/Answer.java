package ai.leyden.runner;

import ai.leyden.client.Event;
import ai.leyden.client.GatewayState;
import ai.leyden.client.Model;
import ai.leyden.client.RequestWarning;
import ai.leyden.client.RpcException;
import ai.leyden.client.ServerState;
import ai.leyden.client.StageState;
import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.ByteString;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What was seen of one ask. */
final class Answer {
  private static final Gson JSON = new Gson();

  private final Map<String, Object> seen = new LinkedHashMap<>();
  private final List<Map<String, Object>> events = new ArrayList<>();
  private final Map<Integer, Map<String, Object>> images = new TreeMap<>();
  private final Map<String, Integer> counts = new HashMap<>();

  Answer(JsonElement name) {
    seen.put("name", name);
    seen.put("request_id", null);
    seen.put("events", events);
    seen.put("images", images.values());
    seen.put("summary", null);
    seen.put("models", List.of());
    seen.put("state", null);
    seen.put("left", null);
    seen.put("error", null);
  }

  JsonObject json() {
    return JSON.toJsonTree(seen).getAsJsonObject();
  }

  /** How many events of a kind were seen. */
  int count(String kind) {
    return counts.getOrDefault(kind, 0);
  }

  void left(String how) {
    seen.put("left", how);
  }

  void models(List<Model> models) {
    seen.put("models", models.stream().map(Model::name).toList());
  }

  void requestId(String requestId) {
    seen.put("request_id", requestId);
  }

  void state(ServerState state) {
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("stages", state.stages().stream().map(Answer::stage).toList());
    said.put("gateways", state.gateways().stream().map(Answer::gateway).toList());
    said.put("bottleneck", state.bottleneck());
    said.put("bottleneck_reason", state.bottleneckReason());
    seen.put("state", said);
  }

  private static Map<String, Object> stage(StageState stage) {
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("name", stage.name());
    said.put("kind", stage.kind().name());
    said.put("models", stage.models());
    said.put("running_replicas", stage.runningReplicas());
    said.put("wanted_replicas", stage.wantedReplicas());
    said.put("running_count", stage.runningCount());
    said.put("waiting_count", stage.waitingCount());
    stage.busyShare().ifPresent(share -> said.put("busy_share", share));
    said.put("problem", stage.problem());
    return said;
  }

  private static Map<String, Object> gateway(GatewayState gateway) {
    return Map.of(
        "replica", gateway.replica(),
        "uptime_s", gateway.uptime().toNanos() / 1e9,
        "draining", gateway.draining(),
        "open_stream_count", gateway.openStreamCount(),
        "waiting_image_count", gateway.waitingImageCount());
  }

  void saw(Event event) {
    seen.put("request_id", event.requestId());
    Map<String, Object> entry = new LinkedHashMap<>();
    entry.put("kind", kind(event));
    entry.put("index", event.eventIndex());
    if (event instanceof Event.DenoiseProgress progress) {
      entry.put("image_index", progress.imageIndex());
      entry.put("step", progress.step());
      entry.put("num_steps", progress.totalSteps());
      progress.preview().ifPresent(preview -> entry.put("bytes", preview.data().size()));
    } else if (event instanceof Event.Image image) {
      entry.put("image_index", image.imageIndex());
      images.put(
          image.imageIndex(),
          Map.of(
              "image_index", image.imageIndex(),
              "seed", Long.toString(image.seed()),
              "output_format", image.format().name(),
              "sha256", sha256(image.data()),
              "bytes", image.data().size()));
    } else if (event instanceof Event.Summary summary) {
      List<String> warnings = summary.warnings().stream().map(RequestWarning::reason).toList();
      seen.put("summary", Map.of("model", summary.model(), "warnings", warnings));
    }
    events.add(entry);
    counts.merge(kind(event), 1, Integer::sum);
  }

  void failed(Throwable error) {
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("type", error.getClass().getSimpleName());
    said.put("message", String.valueOf(error.getMessage()));
    if (error instanceof RpcException failure) {
      said.put("code", failure.code().name());
      said.put("reason", failure.reason());
      said.put("metadata", failure.metadata());
      said.put("violations", failure.violations());
      said.put(
          "retry_after_s", failure.retryAfter().map(wait -> wait.toNanos() / 1e9).orElse(null));
    }
    seen.put("error", said);
  }

  private static String kind(Event event) {
    if (event instanceof Event.Queued) {
      return "queued";
    }
    if (event instanceof Event.TextEncoded) {
      return "text_encoded";
    }
    if (event instanceof Event.DenoiseProgress) {
      return "denoise_progress";
    }
    return event instanceof Event.Image ? "image" : "summary";
  }

  private static String sha256(ByteString data) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      data.asReadOnlyByteBufferList().forEach(digest::update);
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}
