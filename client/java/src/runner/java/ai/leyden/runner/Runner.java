package ai.leyden.runner;

import ai.leyden.client.Event;
import ai.leyden.client.EventStream;
import ai.leyden.client.LeydenClient;
import ai.leyden.client.LeydenClientBuilder;
import ai.leyden.client.TlsConfig;
import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.opentelemetry.context.Scope;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;

/**
 * Does what the cases that all clients share ask for, and says what it saw: a JSON object a line
 * in, one a line out. What is right, the asker knows.
 */
public final class Runner {
  private static final Gson JSON = new Gson();

  private Runner() {}

  /**
   * Answers until the end of the input.
   *
   * @param arguments none
   * @throws IOException if standard input cannot be read
   */
  public static void main(String[] arguments) throws IOException {
    BufferedReader asks =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line = asks.readLine(); line != null; line = asks.readLine()) {
      JsonObject ask = JsonParser.parseString(line).getAsJsonObject();
      answers.println(JSON.toJson(answer(ask)));
    }
  }

  private static JsonObject answer(JsonObject ask) throws IOException {
    if (ask.has("misspelt")) {
      JsonObject refused = new JsonObject();
      refused.add("name", ask.get("name"));
      refused.addProperty("compile_time", true);
      return refused;
    }
    if (ask.get("call").getAsString().equals("load")) {
      return Load.measure(ask, connect(ask));
    }
    Answer answer = new Answer(ask.get("name"));
    Scope traced = new Ask(ask).trace().makeCurrent();
    try (LeydenClient client = connect(ask)) {
      call(client, new Ask(ask), answer);
    } catch (Exception error) {
      // Whatever it is, it is the answer.
      answer.failed(error);
    } finally {
      traced.close();
    }
    return answer.json();
  }

  private static LeydenClient connect(JsonObject ask) throws IOException {
    LeydenClientBuilder client = LeydenClient.builder(ask.get("target").getAsString());
    JsonObject files = ask.getAsJsonObject("tls");
    if (files != null) {
      TlsConfig tls = TlsConfig.trusting(Path.of(files.get("ca").getAsString()));
      client.tls(
          files.has("certificate")
              ? tls.withIdentity(
                  Path.of(files.get("certificate").getAsString()),
                  Path.of(files.get("private_key").getAsString()))
              : tls);
    }
    if (ask.has("api_key")) {
      client.apiKey(ask.get("api_key").getAsString());
    }
    new Ask(ask).timeout().ifPresent(client::callTimeout);
    return client.build();
  }

  private static void call(LeydenClient client, Ask ask, Answer answer) throws Exception {
    switch (ask.call()) {
      case "generate" -> {
        if (ask.leavesBy("cancel")) {
          CancellingSubscriber.read(client.publishImage(ask.generateRequest()), ask, answer);
        } else {
          read(client.streamImage(ask.generateRequest()), ask, answer);
        }
      }
      case "watch" -> read(client.watch(ask.watchRequest()), ask, answer);
      case "cancel" -> client.cancel(ask.requestId());
      case "list_models" -> answer.models(client.listModels());
      case "get_model" -> answer.models(List.of(client.getModel(ask.model())));
      case "load_model" -> answer.models(List.of(client.loadModel(ask.model())));
      case "unload_model" -> client.unloadModel(ask.model());
      case "get_server_state" -> answer.state(client.getServerState());
      case "wait_until_ready" ->
          ask.timeout().ifPresentOrElse(client::waitUntilReady, client::waitUntilReady);
      case "start" -> answer.requestId(client.startImage(ask.generateRequest()));
      default -> throw new IllegalArgumentException("no such call: " + ask.call());
    }
  }

  private static void read(EventStream stream, Ask ask, Answer answer) throws Exception {
    try (stream) {
      for (Event event : stream) {
        answer.saw(event);
        if (ask.leavesBy("break") && ask.leavesAt(answer)) {
          answer.left("break");
          break;
        }
        Thread.sleep(ask.pause().toMillis());
      }
    }
  }
}
