package ai.leyden.runner;

import ai.leyden.client.GenerateRequest;
import ai.leyden.client.OutputFormat;
import ai.leyden.client.PreviewOptions;
import ai.leyden.client.WatchRequest;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Context;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Consumer;

/** What is asked; what an ask does not name is not given to the client. */
final class Ask {
  private final JsonObject ask;
  private final JsonObject request;
  private final JsonObject options;
  private final JsonObject leave;

  Ask(JsonObject ask) {
    this.ask = ask;
    this.request = part("request");
    this.options = part("options");
    this.leave = part("leave");
  }

  String call() {
    return ask.get("call").getAsString();
  }

  String requestId() {
    return request.get("request_id").getAsString();
  }

  String model() {
    return find(request, "model").map(JsonElement::getAsString).orElse("");
  }

  Duration pause() {
    return find(ask, "pause_ms").map(e -> Duration.ofMillis(e.getAsLong())).orElse(Duration.ZERO);
  }

  Optional<Duration> timeout() {
    return find(options, "timeout_s").map(Ask::seconds);
  }

  /** The caller's span, as its program would have it. */
  Context trace() {
    return find(ask, "traceparent")
        .map(given -> given.getAsString().split("-"))
        .map(
            parts ->
                SpanContext.create(
                    parts[1], parts[2], TraceFlags.fromHex(parts[3], 0), TraceState.getDefault()))
        .map(span -> Context.root().with(Span.wrap(span)))
        .orElse(Context.root());
  }

  boolean leavesBy(String how) {
    return find(leave, "by").map(e -> e.getAsString().equals(how)).orElse(false);
  }

  boolean leavesAt(Answer answer) {
    return answer.count(leave.get("after").getAsString()) >= leave.get("count").getAsInt();
  }

  GenerateRequest generateRequest() {
    GenerateRequest.Builder built = GenerateRequest.builder(request.get("prompt").getAsString());
    set(request, "model", e -> built.model(e.getAsString()));
    set(request, "negative_prompt", e -> built.negativePrompt(e.getAsString()));
    set(request, "seed", e -> built.seed(Long.parseLong(e.getAsString())));
    set(request, "num_inference_steps", e -> built.numInferenceSteps(e.getAsInt()));
    set(request, "width_px", e -> built.widthPx(e.getAsInt()));
    set(request, "height_px", e -> built.heightPx(e.getAsInt()));
    set(request, "guidance_scale", e -> built.guidanceScale(e.getAsFloat()));
    set(request, "image_count", e -> built.imageCount(e.getAsInt()));
    set(request, "output_format", e -> built.outputFormat(OutputFormat.valueOf(e.getAsString())));
    find(request, "preview")
        .filter(JsonElement::getAsBoolean)
        .ifPresent(asked -> built.preview(new PreviewOptions()));
    set(request, "request_id", e -> built.requestId(e.getAsString()));
    set(request, "priority", e -> built.priority(e.getAsInt()));
    set(options, "linger_s", e -> built.linger(seconds(e)));
    timeout().ifPresent(built::timeout);
    return built.build();
  }

  WatchRequest watchRequest() {
    WatchRequest watched = WatchRequest.of(requestId());
    if (ask.has("after_event_index")) {
      watched = watched.after(ask.get("after_event_index").getAsLong());
    }
    return timeout().map(watched::within).orElse(watched);
  }

  private JsonObject part(String name) {
    return ask.has(name) ? ask.getAsJsonObject(name) : new JsonObject();
  }

  private static void set(JsonObject from, String name, Consumer<JsonElement> setter) {
    find(from, name).ifPresent(setter);
  }

  private static Optional<JsonElement> find(JsonObject from, String name) {
    return Optional.ofNullable(from.get(name));
  }

  private static Duration seconds(JsonElement number) {
    return Duration.ofNanos(Math.round(number.getAsDouble() * 1e9));
  }
}
