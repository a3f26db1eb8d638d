/** Whether a server serves, by grpc.health.v1. */

import { setTimeout as sleep } from "node:timers/promises";

import { create, createFileRegistry, type DescMethodServerStreaming } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import type { CallHeaders } from "./options.js";
import type { Rpc } from "./rpc.js";
import { timedOut } from "./status.js";

const SERVING = 1;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

/** Watch of grpc.health.v1.Health, described here: its proto is one field each way. */
const WATCH = watchMethod();

/**
 * Wait for SERVING, through anything that passes. Throws `DeadlineExceededError` after `timeoutS`
 * seconds, `ConnectError` for what the server says, and the reason of `signal` once it is aborted.
 */
export async function waitUntilServing(
  rpc: Rpc,
  headers: CallHeaders,
  timeoutS: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = timeoutS === undefined ? Infinity : performance.now() + timeoutS * 1e3;
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    const remainingMs = deadlineMs - performance.now();
    if (timeoutS !== undefined && remainingMs <= 0) {
      throw timedOut(timeoutS);
    }
    try {
      if (await serves(rpc, headers, remainingMs, signal)) {
        return;
      }
    } catch (error) {
      signal.throwIfAborted();
      const code = ConnectError.from(error).code;
      // A server that is not there yet, or went while it was watched, may come.
      if (![Code.Unavailable, Code.Aborted, Code.DeadlineExceeded].includes(code)) {
        throw error;
      }
    }
    // Whatever ends watches at once must not be flooded with new ones.
    const pause = Math.min(pauseMs, Math.max(0, deadlineMs - performance.now()));
    await sleep(pause, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
  }
}

/** Watch the health until it is SERVING (true), or the server ends the watch (false). */
async function serves(
  rpc: Rpc,
  headers: CallHeaders,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const watch = rpc.stream(
    WATCH,
    {},
    { headers, signal, timeoutMs: Number.isFinite(timeoutMs) ? timeoutMs : undefined },
  );
  try {
    for (;;) {
      const response = await watch.next();
      if (response === undefined) {
        return false;
      }
      if ((response as unknown as { status: number }).status === SERVING) {
        return true;
      }
    }
  } finally {
    watch.cancel();
  }
}

function watchMethod(): DescMethodServerStreaming {
  const [optional, int32] = [FieldDescriptorProto_Label.OPTIONAL, FieldDescriptorProto_Type.INT32];
  const file = create(FileDescriptorProtoSchema, {
    name: "grpc/health/v1/health.proto",
    package: "grpc.health.v1",
    syntax: "proto3",
    messageType: [
      // Its field names a service; without it the whole server is meant.
      { name: "HealthCheckRequest" },
      {
        name: "HealthCheckResponse",
        // An enum, which is an int32 on the wire.
        field: [{ name: "status", number: 1, label: optional, type: int32, jsonName: "status" }],
      },
    ],
    service: [
      {
        name: "Health",
        method: [
          {
            name: "Watch",
            inputType: ".grpc.health.v1.HealthCheckRequest",
            outputType: ".grpc.health.v1.HealthCheckResponse",
            serverStreaming: true,
          },
        ],
      },
    ],
  });
  const service = createFileRegistry(file, () => undefined).getService("grpc.health.v1.Health");
  const method = service?.method.watch;
  // As it is described above.
  return method as DescMethodServerStreaming;
}
