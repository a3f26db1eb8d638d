// Builds the page into the server's package, the same bytes from the same sources; with --check it
// builds and compares with what is there.
import { readdirSync, readFileSync, rmSync, statSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = fileURLToPath(new URL("..", import.meta.url));
const page = fileURLToPath(
  new URL("../../../server/leyden_server/gateway/web/page", import.meta.url),
);

const files = await built();
if (process.argv.includes("--check")) {
  const stale = different(files);
  if (stale.length > 0) {
    console.error(`not as built from client/web: ${stale.join(", ")}; run npm run build there`);
    process.exit(1);
  }
} else {
  rmSync(page, { recursive: true, force: true });
  mkdirSync(page, { recursive: true });
  for (const [name, content] of files) writeFileSync(join(page, name), content);
}

/** Returns the page's files: name and content. */
async function built() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { page: "src/main.tsx", style: "src/styles/page.css" },
    outdir: "out",
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    format: "esm",
    target: ["chrome123", "firefox120", "safari17.5"],
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
  });
  const bundled = result.outputFiles.map(({ path, contents }) => [
    path.split(/[\\/]/).at(-1).replace("style.css", "page.css"),
    Buffer.from(contents),
  ]);
  return new Map([
    ...bundled,
    ["index.html", readFileSync(join(here, "src/index.html"))],
    ["icon.svg", readFileSync(join(here, "src/icon.svg"))],
    ["licences.txt", Buffer.from(licences(Object.keys(result.metafile.inputs)))],
  ]);
}

/** Returns the licences of the packages that the bundle has parts of. */
function licences(inputs) {
  const names = inputs
    .map((input) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1])
    .filter((name) => name !== undefined);
  const texts = [...new Set(names)].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? "" : `\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
    return `${name} ${version}: ${license}\n${text}`;
  });
  return `page.js has parts of these packages in it.\n\n${texts.join("\n")}`;
}

/** Returns the names of files that are not as they are in the package. */
function different(wanted) {
  const there = new Set(readdirSync(page).filter((name) => statSync(join(page, name)).isFile()));
  const stale = [...there].filter((name) => !wanted.has(name));
  for (const [name, content] of wanted) {
    if (!there.has(name) || !content.equals(readFileSync(join(page, name)))) stale.push(name);
  }
  return stale.sort();
}
