// The package as its users have it: both module systems, its public names, what it refuses.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

import * as leyden from "leyden-client";

const { Client, VERSION } = leyden;

/**
 * Options as whoever writes JavaScript may give them.
 * @param {object} options
 * @returns {any}
 */
const any = (options) => options;

test("CommonJS has the same names as ESM", () => {
  const required = createRequire(import.meta.url)("leyden-client");
  assert.deepEqual(Object.keys(required).sort(), Object.keys(leyden).sort());
});

test("the version is the package's", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  assert.equal(VERSION, version);
});

test("errors are a tree", () => {
  assert.ok(leyden.GenerationNotFoundError.prototype instanceof leyden.NotFoundError);
  assert.ok(leyden.ModelLoadError.prototype instanceof leyden.FailedPreconditionError);
  assert.ok(leyden.InternalError.prototype instanceof leyden.RpcError);
  assert.ok(leyden.ProtocolError.prototype instanceof leyden.LeydenError);
});

/** @type {Record<string, [object, Function, RegExp]>} */
const REFUSED = {
  "a misspelt option": [{ num_inference_steps: 4 }, TypeError, /no option num_inference_steps/],
  "an option of every object": [{ toString: () => "4" }, TypeError, /no option toString/],
  "text for a number": [{ widthPx: "512" }, TypeError, /widthPx must be a number; got "512"/],
  "a part of a pixel": [{ widthPx: 512.7 }, RangeError, /integer of 32 bits; got 512.7/],
  "a number over 32 bits": [{ heightPx: 2 ** 31 }, RangeError, /integer of 32 bits/],
  "a format that there is not": [{ outputFormat: "gif" }, TypeError, /one of .*"png"/],
  "a seed that a number cannot hold": [{ seed: 2 ** 53 }, RangeError, /give a bigint/],
  "a seed over 64 bits": [{ seed: 2n ** 63n }, RangeError, /integer of 64 bits/],
  "a misspelt option of previews": [{ preview: { size: 3 } }, TypeError, /preview\.size/],
  "a linger that is no number": [{ lingerS: NaN }, RangeError, /number of seconds/],
  "null for absent": [{ model: null }, TypeError, /model must be a string; got null/],
};

for (const [name, [options, kind, says]] of Object.entries(REFUSED)) {
  test(`refused before anything is sent: ${name}`, async () => {
    const client = new Client("127.0.0.1:1");
    assert.throws(
      () => client.streamImage("a lake", any(options)),
      (/** @type {object} */ error) => error instanceof kind && says.test(any(error).message),
    );
    await client.close();
  });
}

test("what cannot be is said when the client is made, without the key", () => {
  assert.throws(
    () => new Client("127.0.0.1:1", { apiKey: "ley_secret\n" }),
    (error) => {
      assert.ok(error instanceof TypeError && !error.message.includes("secret"));
      return true;
    },
  );
  assert.throws(() => new Client("127.0.0.1:1", any({ api_key: "x" })), /no option api_key/);
  assert.throws(() => new Client("127.0.0.1"), /HOST:PORT/);
  assert.throws(() => new Client("http://127.0.0.1:1"), /HOST:PORT/);
  const tls = { privateKey: Buffer.from("x") };
  assert.throws(() => new Client("127.0.0.1:1", { tls }), /both, or neither/);
  const rootCertificates = Buffer.from("none");
  assert.throws(() => new Client("127.0.0.1:1", { tls: { rootCertificates } }), /not a PEM/);
});

test("a closed client says so", async () => {
  const client = new Client("127.0.0.1:1");
  await client.close();
  await client.close();
  assert.throws(() => client.streamImage("a lake"), /the client is closed/);
  await assert.rejects(client.listModels(), /the client is closed/);
});

test("a signal that is aborted already is thrown, and nothing is sent", async () => {
  const client = new Client("127.0.0.1:1");
  const signal = AbortSignal.abort(new Error("mine"));
  await assert.rejects(client.generateImage("a lake", { signal }), /mine/);
  await assert.rejects(client.getModel("", { signal }), /mine/);
  await client.close();
});

test("a stream that nobody begins to read can be left", async () => {
  const client = new Client("127.0.0.1:1");
  const stream = client.streamImage("a lake");
  assert.match(stream.requestId, /^[0-9a-f-]{36}$/);
  assert.deepEqual(await stream.return(), { done: true, value: undefined });
  await client.close();
});

test("waiting for a server that is not there ends at the deadline", async () => {
  const client = new Client("127.0.0.1:1");
  await assert.rejects(
    client.waitUntilReady({ timeoutS: 0.3 }),
    (error) => error instanceof leyden.DeadlineExceededError,
  );
  await client.close();
});
