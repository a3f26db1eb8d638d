// OpenAI's own client for JavaScript, unchanged, against a Leyden server: LEYDEN_WEB is where.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.LEYDEN_WEB}v1`,
  apiKey: "unused",
  maxRetries: 0,
});
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

/** Returns the bytes of an image as OpenAI's API carries it. */
const bytes = (b64) => Buffer.from(b64, "base64");

test("it generates images", async () => {
  const answer = await client.images.generate({ prompt: "a lake", n: 2, size: "256x256" });
  assert.equal(answer.size, "256x256");
  assert.equal(answer.data.length, 2);
  for (const image of answer.data) {
    assert.deepEqual(bytes(image.b64_json).subarray(0, 4), PNG);
  }
});

test("a stream has previews, and then the image", async () => {
  const stream = await client.images.generate({ prompt: "a lake", stream: true, partial_images: 2 });
  const types = [];
  for await (const event of stream) {
    types.push(event.type);
    assert.deepEqual(bytes(event.b64_json).subarray(0, 4), PNG);
  }
  assert.equal(types.at(-1), "image_generation.completed");
  assert.ok(types.slice(0, -1).every((type) => type === "image_generation.partial_image"));
  assert.ok(types.length <= 3);
});

test("what cannot be done is refused by its name", async () => {
  for (const [field, value] of [["style", "vivid"], ["n", 99], ["size", "1x1"], ["promt", "x"]]) {
    await assert.rejects(client.images.generate({ prompt: "x", [field]: value }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.param, field);
      return true;
    });
  }
});

test("the models are listed", async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.ok(models.length > 0);
});

test("leaving the loop ends the work", async () => {
  const stream = await client.images.generate({ prompt: "left early", size: "512x512", stream: true, partial_images: 3 });
  for await (const event of stream) {
    assert.equal(event.type, "image_generation.partial_image");
    break;
  }
  // The server takes the next request at once, and tells the test of the one that was left.
  await client.images.generate({ prompt: "a lake" });
});
