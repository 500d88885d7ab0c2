// Bundles TypeScript of the app as Windmill's own bundler does (windmill-cli, createBundle), with `./wmill` of the
// tests: node build.mjs ENTRY OUTFILE PACKAGES [node]. With `node` the bundle is a module for Node, without a page.
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as esbuild from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const [entry, outfile, packages] = process.argv.slice(2, 5).map((path) => resolve(path))
const forNode = process.argv[5] === 'node'
await esbuild.build({
  entryPoints: [entry],
  outfile,
  bundle: true,
  format: forNode ? 'esm' : 'iife',
  platform: forNode ? 'node' : 'browser',
  target: 'es2020',
  jsx: 'automatic',
  loader: { '.css': 'css' },
  conditions: ['style', 'module'],
  nodePaths: [packages],
  logLevel: 'warning',
  minify: !forNode,
  define: { 'process.env.NODE_ENV': '"production"' },
  plugins: [
    {
      name: 'wmill',
      setup: (build) =>
        build.onResolve({ filter: /^(\.\.\/)+wmill(\.ts)?$|^(\.\/|\/)?wmill(\.ts)?$/ }, () => ({
          path: join(here, 'fake_wmill.ts'),
        })),
    },
  ],
})
