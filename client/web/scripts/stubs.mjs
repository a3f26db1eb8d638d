// Makes the TypeScript stubs that the page needs, into gen/, which git ignores.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("..", import.meta.url));
const protos = fileURLToPath(new URL("../../../protos", import.meta.url));
const venv = fileURLToPath(new URL("../../../.venv/bin", import.meta.url));
const template = JSON.stringify({
  version: "v2",
  plugins: [{ local: "protoc-gen-es", out: join(here, "gen"), opt: "target=ts" }],
});

rmSync(join(here, "gen"), { recursive: true, force: true });
execFileSync(
  existsSync(join(venv, "buf")) ? join(venv, "buf") : "buf",
  ["generate", "--template", template, "--path", "leyden", "--path", "google/rpc"],
  {
    cwd: protos,
    stdio: "inherit",
    env: {
      ...process.env,
      PATH: [join(here, "node_modules/.bin"), process.env.PATH].join(delimiter),
    },
  },
);
