// Installs what package-lock.json says, unless that was done: `npm ci` always begins anew.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";

const lock = readFileSync("package-lock.json", "utf8");
const mark = "node_modules/.installed";
if (!existsSync(mark) || readFileSync(mark, "utf8") !== lock) {
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], {
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (status !== 0) {
    process.exit(status ?? 1);
  }
  writeFileSync(mark, lock);
}
