// Builds a raw app as a page that stands by itself: node build.mjs APP_FOLDER TARGET_FOLDER PACKAGES_FOLDER
//
// The options are those of Windmill's own bundler (windmill-cli, createBundle), so that both pages come from the same
// sources; only `./wmill` is ours. The names of the files hold their hash: a browser keeps them for ever.
import { createHash } from "node:crypto";
import { chmod, mkdtemp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const [app, target, packages] = process.argv.slice(2).map((folder) => resolve(folder));
const wmill = {
  name: "wmill",
  setup: (build) =>
    build.onResolve({ filter: /^(\.\.\/)+wmill(\.ts)?$|^(\.\/|\/)?wmill(\.ts)?$/ }, () => ({ path: join(here, "wmill.ts") })),
};
const built = await esbuild.build({
  entryPoints: [join(app, "index.tsx")],
  outfile: "bundle.js",
  bundle: true,
  format: "iife",
  platform: "browser",
  target: "es2020",
  jsx: "automatic",
  loader: { ".css": "css" },
  conditions: ["style", "module"],
  nodePaths: [packages],
  logLevel: "warning",
  minify: true,
  write: false,
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [wmill],
});

await mkdir(dirname(target), { recursive: true });
const draft = await mkdtemp(`${target}-`);
const files = built.outputFiles.map(({ path, contents }) => ({ kind: path.endsWith(".css") ? "css" : "js", contents }));
files.push({ kind: "css", contents: await readFile(join(here, "panel.css")) });
const names = { css: [], js: [] };
for (const { kind, contents } of files) {
  const name = `${createHash("sha256").update(contents).digest("hex").slice(0, 16)}.${kind}`;
  await writeFile(join(draft, name), contents);
  names[kind].push(name);
}
const styles = names.css.map((name) => `<link rel="stylesheet" href="/assets/${name}">`).join("\n    ");
const page = (await readFile(join(here, "index.html"), "utf8")).replace("STYLES", styles).replace("SCRIPT", names.js[0]);
await writeFile(join(draft, "index.html"), page);
await chmod(draft, 0o755);
await rm(target, { recursive: true, force: true });
await rename(draft, target);
