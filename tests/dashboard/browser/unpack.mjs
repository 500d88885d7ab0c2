// Unpacks Chromium, its libraries and its fonts from the npm package into the folder that is given, all or nothing.
// The package is made for a machine that has next to nothing installed, which is what a new CI machine is.
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const target = resolve(process.argv[2]);
const packed = join(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")), "..", "bin");
const unpacked = await mkdtemp(`${target}-`);
// The package unpacks into the folder for temporary files, and reads its name when it is asked to.
process.env.TMPDIR = unpacked;
const { inflate } = await import("@sparticuz/chromium");
for (const name of ["chromium.br", "al2023.tar.br", "fonts.tar.br", "swiftshader.tar.br"]) {
  await inflate(join(packed, name));
}
// The package's own file looks for fonts in /tmp.
await writeFile(
  join(unpacked, "fonts/fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <cachedir>${join(target, "fonts/cache")}</cachedir>
</fontconfig>
`,
);
await rm(target, { recursive: true, force: true });
await rename(unpacked, target);
