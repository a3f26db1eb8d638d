// Answers the asks of the harness (tests/clients/README.md) by this package, as its users have it.
import { createHash } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, RpcError } from "leyden-client";

/** @typedef {Record<string, any>} Json */

/** @type {Record<import("leyden-client").LeydenEvent["kind"], string>} */
const KINDS = {
  queued: "queued",
  textEncoded: "text_encoded",
  denoiseProgress: "denoise_progress",
  image: "image",
  summary: "summary",
};

/**
 * The client's name of a field or option.
 * @param {string} name
 */
function camel(name) {
  return name.replace(/_(\w)/g, (_, /** @type {string} */ letter) => letter.toUpperCase());
}

/** @param {Json} ask */
function connected(ask) {
  const files = ask.tls;
  const tls = files && {
    rootCertificates: files.ca,
    privateKey: files.private_key,
    certificateChain: files.certificate,
  };
  // A function, as a program that is traced gives one.
  const headers = ask.traceparent && (() => ({ traceparent: ask.traceparent }));
  return new Client(ask.target, { tls, apiKey: ask.api_key, headers });
}

/**
 * What is asked for as the client's own options.
 * @param {Json} ask
 * @param {AbortSignal} signal
 */
function fields(ask, signal) {
  const { prompt, preview, seed, output_format, ...others } = ask.request ?? {};
  /** @type {Json} */
  const options = { signal };
  for (const [name, value] of Object.entries({ ...others, ...ask.options })) {
    options[camel(name)] = value;
  }
  Object.assign(options, ask.misspelt);
  if (seed !== undefined) {
    options.seed = BigInt(seed);
  }
  if (output_format !== undefined) {
    options.outputFormat = output_format.toLowerCase();
  }
  if (preview) {
    options.preview = {};
  }
  return { prompt, options };
}

/**
 * @param {import("leyden-client").LeydenEvent} event
 * @param {Json} answer
 */
function record(event, answer) {
  /** @type {Json} */
  const entry = { kind: KINDS[event.kind], index: event.eventIndex };
  answer.events.push(entry);
  if (event.kind === "denoiseProgress") {
    entry.image_index = event.imageIndex;
    entry.step = event.step;
    entry.num_steps = event.totalSteps;
    entry.bytes = event.preview?.data.length;
  } else if (event.kind === "image") {
    entry.image_index = event.imageIndex;
    answer.images.push({
      image_index: event.imageIndex,
      seed: String(event.seed),
      output_format: event.format.toUpperCase(),
      sha256: createHash("sha256").update(event.data).digest("hex"),
      bytes: event.data.length,
    });
  } else if (event.kind === "summary") {
    const warnings = event.warnings.map(({ reason }) => reason);
    answer.summary = { model: event.model, warnings };
  }
}

/**
 * @param {import("leyden-client").GenerationStream} stream
 * @param {Json} ask
 * @param {Json} answer
 * @param {AbortController} control
 */
async function read(stream, ask, answer, control) {
  const { leave } = ask;
  let seen = 0;
  answer.request_id = stream.requestId;
  for await (const event of stream) {
    record(event, answer);
    seen += KINDS[event.kind] === leave?.after ? 1 : 0;
    if (leave !== undefined && seen >= leave.count) {
      if (leave.by === "break") {
        answer.left = "break";
        break;
      }
      control.abort();
    }
    if (ask.pause_ms) {
      await sleep(ask.pause_ms);
    }
  }
}

/**
 * @param {Client} client
 * @param {Json} ask
 * @param {Json} answer
 * @param {AbortController} control
 */
async function call(client, ask, answer, control) {
  const { prompt, options } = fields(ask, control.signal);
  const { timeoutS, requestId } = options;
  switch (ask.call) {
    case "generate":
      await read(client.streamImage(prompt, options), ask, answer, control);
      break;
    case "watch": {
      const { signal } = control;
      const afterEventIndex = ask.after_event_index;
      const stream = client.watch(requestId, { afterEventIndex, timeoutS, signal });
      await read(stream, ask, answer, control);
      break;
    }
    case "cancel":
      await client.cancel(requestId, { timeoutS });
      break;
    case "list_models":
      answer.models = (await client.listModels({ timeoutS })).map(({ name }) => name);
      break;
    case "get_model":
      answer.models = [(await client.getModel(ask.request?.model, { timeoutS })).name];
      break;
    case "load_model":
      answer.models = [(await client.loadModel(ask.request.model, { timeoutS })).name];
      break;
    case "unload_model":
      await client.unloadModel(ask.request.model, { timeoutS });
      break;
    case "get_server_state":
      answer.state = ofState(await client.getServerState({ timeoutS }));
      break;
    case "wait_until_ready":
      await client.waitUntilReady({ timeoutS });
      break;
    case "start":
      answer.request_id = await client.startImage(prompt, options);
      break;
    default:
      throw new Error(`no such call: ${ask.call}`);
  }
}

/** @param {import("leyden-client").ServerState} state */
function ofState(state) {
  return {
    stages: state.stages.map((stage) => ({
      name: stage.name,
      kind: stage.kind.toUpperCase(),
      models: stage.models,
      running_replicas: stage.runningReplicas,
      wanted_replicas: stage.wantedReplicas,
      running_count: stage.runningCount,
      waiting_count: stage.waitingCount,
      busy_share: stage.busyShare ?? null,
      problem: stage.problem,
    })),
    gateways: state.gateways.map((gateway) => ({
      replica: gateway.replica,
      uptime_s: gateway.uptimeS,
      draining: gateway.draining,
      open_stream_count: gateway.openStreamCount,
      waiting_image_count: gateway.waitingImageCount,
    })),
    bottleneck: state.bottleneck,
    bottleneck_reason: state.bottleneckReason,
  };
}

/**
 * @param {unknown} error
 * @returns {Json}
 */
function told(error) {
  if (!(error instanceof Error)) {
    return { type: typeof error, code: null, message: String(error) };
  }
  const said = { type: error.constructor.name, code: null, message: error.message };
  if (!(error instanceof RpcError)) {
    return said;
  }
  const { code, reason, metadata, violations, retryAfterS } = error;
  return { ...said, code, reason, metadata, violations, retry_after_s: retryAfterS ?? null };
}

/** @param {Json} ask */
async function answered(ask) {
  /** @type {Json} */
  const answer = {
    name: ask.name,
    request_id: null,
    events: [],
    images: [],
    summary: null,
    models: [],
    state: null,
    left: null,
    error: null,
  };
  const control = new AbortController();
  /** @type {Client | undefined} */
  let client;
  try {
    client = connected(ask);
    await call(client, ask, answer, control);
  } catch (error) {
    if (control.signal.aborted && error === control.signal.reason) {
      answer.left = "cancel";
    } else {
      answer.error = told(error);
    }
  } finally {
    await client?.close();
  }
  return answer;
}

/** @param {Json} ask */
async function measured(ask) {
  /** @type {number[]} */
  const latencies = [];
  let left = ask.requests;
  const client = connected(ask);
  const stream = async () => {
    while (left-- > 0) {
      const started = performance.now();
      await client.generateImage("a lake");
      latencies.push((performance.now() - started) / 1e3);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: ask.streams }, stream));
  const elapsed = (performance.now() - started) / 1e3;
  await client.close();
  return { name: ask.name, latencies_s: latencies, elapsed_s: elapsed };
}

for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line);
  const answer = ask.call === "load" ? await measured(ask) : await answered(ask);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
