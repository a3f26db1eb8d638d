// How calls go over HTTP/2, before a server that answers byte by byte what a test says.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, createServer } from "node:http2";
import { test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import * as leyden from "leyden-client";

import { ErrorInfoSchema } from "../dist/esm/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../dist/esm/gen/google/rpc/status_pb.js";
import { ListModelsResponseSchema } from "../dist/esm/gen/leyden/v1/model_service_pb.js";

/** @typedef {import("node:http2").ServerHttp2Stream} Stream */
/** @typedef {import("node:http2").IncomingHttpHeaders} Headers */

const GRPC = { ":status": 200, "content-type": "application/grpc" };
const MODELS = toBinary(
  ListModelsResponseSchema,
  create(ListModelsResponseSchema, { models: [{ name: "one" }, { name: "two" }] }),
);

/**
 * @param {Uint8Array} message
 * @param {number} flags
 * @param {number} length
 */
function framed(message, flags = 0, length = message.length) {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/**
 * Answer with these bytes, each piece in a frame of its own, and these trailers.
 * @param {Stream} stream
 * @param {Uint8Array[]} pieces
 * @param {Record<string, string> | undefined} trailers
 */
function reply(stream, pieces, trailers = { "grpc-status": "0" }) {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  for (const piece of pieces) {
    stream.write(piece);
  }
  stream.end();
}

/**
 * Run `use` with a client of a server that answers by `answer`.
 * @param {(stream: Stream, headers: Headers) => void} answer
 * @param {(client: leyden.Client) => Promise<void>} use
 */
async function before(answer, use) {
  const server = createServer();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    answer(stream, headers);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const client = new leyden.Client(`127.0.0.1:${port}`);
  try {
    await use(client);
  } finally {
    await client.close();
    server.close();
  }
}

/** @type {Record<string, (stream: Stream) => void>} */
const GOOD = {
  "in one piece": (stream) => reply(stream, [framed(MODELS)]),
  "byte by byte": (stream) =>
    reply(
      stream,
      [...framed(MODELS)].map((byte) => Buffer.of(byte)),
    ),
  "cut within its head": (stream) =>
    reply(stream, [framed(MODELS).subarray(0, 3), framed(MODELS).subarray(3)]),
};
for (const [name, answer] of Object.entries(GOOD)) {
  test(`a message comes ${name}`, () =>
    before(answer, async (client) => {
      const names = (await client.listModels()).map((model) => model.name);
      assert.deepEqual(names, ["one", "two"]);
    }));
}

const details = toBinary(
  StatusSchema,
  create(StatusSchema, {
    code: 5,
    details: [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "MODEL_NOT_FOUND" }))],
  }),
);
const NOT_FOUND = {
  "grpc-status": "5",
  "grpc-message": "kein%20Modell%3A%20%E6%B9%96",
  "grpc-status-details-bin": Buffer.from(details).toString("base64").replace(/=+$/, ""),
};

/** @type {Record<string, [(stream: Stream) => void, Function, Partial<leyden.RpcError>]>} */
const BAD = {
  "a status in trailers": [
    (stream) => reply(stream, [], NOT_FOUND),
    leyden.NotFoundError,
    { message: "kein Modell: 湖", reason: "MODEL_NOT_FOUND" },
  ],
  "a status in headers": [
    (stream) => stream.respond({ ...GRPC, ...NOT_FOUND }, { endStream: true }),
    leyden.NotFoundError,
    { message: "kein Modell: 湖", reason: "MODEL_NOT_FOUND" },
  ],
  "details that are none": [
    (stream) => reply(stream, [], { ...NOT_FOUND, "grpc-status-details-bin": "/////w" }),
    leyden.NotFoundError,
    { message: "kein Modell: 湖", reason: "" },
  ],
  "a text that is not encoded": [
    (stream) => reply(stream, [], { "grpc-status": "3", "grpc-message": "100% wrong" }),
    leyden.InvalidArgumentError,
    { message: "100% wrong" },
  ],
  "a status that gRPC has not": [
    (stream) => reply(stream, [], { "grpc-status": "99" }),
    leyden.RpcError,
    { code: "UNKNOWN" },
  ],
  "no status": [
    (stream) => reply(stream, [framed(MODELS)], {}),
    leyden.UnavailableError,
    { code: "UNAVAILABLE" },
  ],
  "a proxy's own answer": [
    (stream) => {
      stream.respond({ ":status": 503, "content-type": "text/html" });
      stream.end("<p>no upstream</p>");
    },
    leyden.UnavailableError,
    { code: "UNAVAILABLE" },
  ],
  "a server that is none of gRPC's": [
    (stream) => {
      stream.respond({ ":status": 200, "content-type": "text/html" });
      stream.end("<p>hello</p>");
    },
    leyden.RpcError,
    { code: "UNKNOWN" },
  ],
  "a stream that is reset": [
    (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    leyden.UnavailableError,
    { code: "UNAVAILABLE" },
  ],
  "a message over the limit": [
    (stream) => reply(stream, [framed(MODELS, 0, 4 * 2 ** 20 + 1)]),
    leyden.MessageTooLargeError,
    { code: "RESOURCE_EXHAUSTED" },
  ],
  "a compressed message": [
    (stream) => reply(stream, [framed(MODELS, 1)]),
    leyden.InternalError,
    { code: "INTERNAL" },
  ],
  "what is no message": [
    (stream) => reply(stream, [framed(Buffer.of(0xff, 0xff))]),
    leyden.InternalError,
    { code: "INTERNAL" },
  ],
  "an end within a message": [
    (stream) => reply(stream, [framed(MODELS).subarray(0, 9)]),
    leyden.InternalError,
    { code: "INTERNAL" },
  ],
  "no message": [(stream) => reply(stream, []), leyden.InternalError, { code: "INTERNAL" }],
  "two messages for one": [
    (stream) => reply(stream, [framed(MODELS), framed(MODELS)]),
    leyden.InternalError,
    { code: "INTERNAL" },
  ],
};
for (const [name, [answer, kind, seen]] of Object.entries(BAD)) {
  test(`an error for ${name}`, () =>
    before(answer, async (client) => {
      /** @type {any} */
      let error;
      await client.listModels().catch((thrown) => (error = thrown));
      for (const [field, value] of Object.entries(seen)) {
        assert.equal(error[field], value, field);
      }
      assert.ok(error instanceof kind, String(error));
    }));
}

test("a deadline is sent in eight digits at most, and none where none is set", async () => {
  /** @type {(string | string[] | undefined)[]} */
  const sent = [];
  await before(
    (stream, headers) => {
      sent.push(headers["grpc-timeout"]);
      reply(stream, [framed(MODELS)]);
    },
    async (client) => {
      await client.listModels();
      await client.listModels({ timeoutS: 60 });
      await client.listModels({ timeoutS: 3e6 });
      await client.listModels({ timeoutS: 1e12 });
    },
  );
  assert.deepEqual(sent, [undefined, "60000m", "3000000S", "99999999S"]);
});

test("a call that is silent ends at its deadline, and the server hears of it", async () => {
  /** @type {(code: number) => void} */
  let closed;
  const code = new Promise((resolve) => (closed = resolve));
  await before(
    (stream) => stream.on("close", () => closed(stream.rstCode)),
    async (client) => {
      await assert.rejects(client.listModels({ timeoutS: 0.2 }), leyden.DeadlineExceededError);
      assert.equal(await code, constants.NGHTTP2_CANCEL);
    },
  );
});
