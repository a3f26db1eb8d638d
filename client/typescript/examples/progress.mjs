// Generates an image with a progress bar and writes its file:
//
//     node examples/progress.mjs "a lighthouse at dusk" lighthouse.png [HOST:PORT]
import { writeFile } from "node:fs/promises";
import process from "node:process";

import { Client, RpcError } from "leyden-client";

const [prompt = "a lighthouse at dusk", path = "out.png", target] = process.argv.slice(2);
const client = new Client(target);
const interrupted = new AbortController();
process.once("SIGINT", () => {
  interrupted.abort();
});

/** @param {import("leyden-client").LeydenEvent} event */
function show(event) {
  if (event.kind === "queued") {
    process.stderr.write(`\rwaits behind ${event.position} images `);
  } else if (event.kind === "denoiseProgress") {
    const bar = "#".repeat(event.step).padEnd(event.totalSteps, ".");
    process.stderr.write(`\r[${bar}] ${event.remainingS.toFixed(1)} s left `);
  }
}

try {
  const { signal } = interrupted;
  const { images, summary } = await client.generateImage(prompt, { signal }, show);
  for (const warning of summary.warnings) {
    process.stderr.write(`\n${warning.message}`);
  }
  for (const image of images) {
    await writeFile(path, image.data);
    process.stderr.write(`\n${path}: seed ${String(image.seed)}, by ${summary.model}\n`);
  }
} catch (error) {
  if (interrupted.signal.aborted) {
    process.stderr.write("\ninterrupted, and ended on the server\n");
    process.exitCode = 130;
  } else if (error instanceof RpcError) {
    process.stderr.write(`\n${error.message}\n`);
    process.exitCode = 1;
  } else {
    throw error;
  }
} finally {
  await client.close();
}
