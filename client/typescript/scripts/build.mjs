// Builds dist/esm and dist/cjs, each with its types, unless the sources are those of the last build.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";

const sources = readdirSync("src", { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath}/${entry.name}`)
  .concat("package-lock.json", "tsconfig.json", "tsconfig.esm.json", "tsconfig.cjs.json")
  .sort();
const digest = createHash("sha256");
for (const source of sources) {
  digest.update(source).update(readFileSync(source));
}
const mark = "dist/.built";
const wanted = digest.digest("hex");
if (!existsSync(mark) || readFileSync(mark, "utf8") !== wanted) {
  rmSync("dist", { recursive: true, force: true });
  for (const project of ["tsconfig.esm.json", "tsconfig.cjs.json"]) {
    const compiler = "node_modules/typescript/bin/tsc";
    const { status } = spawnSync(process.execPath, [compiler, "-p", project], { stdio: "inherit" });
    if (status !== 0) {
      process.exit(status ?? 1);
    }
  }
  // Below it, .js is CommonJS, though the package says that it is a module.
  writeFileSync("dist/cjs/package.json", '{ "type": "commonjs" }\n');
  writeFileSync(mark, wanted);
}
