// Asks Windmill's own parsers (the packages that come with its CLI) for the signatures of many scripts at once.
// stdin: {"modules": folder of the packages, "asked": [{"key", "language", "content", "path"}]}
// stdout: one JSON line per script: {"key", "signature" or "error", "imports"}
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { modules, asked } = JSON.parse(readFileSync(0, "utf8"));
const TS = ["windmill-parser-wasm-ts", "parse_deno"];
const REGEX = "windmill-parser-wasm-regex";
const PARSERS = {
  python3: ["windmill-parser-wasm-py", "parse_python"], bun: TS, deno: TS, nativets: TS, bunnative: TS,
  go: ["windmill-parser-wasm-go", "parse_go"], bash: [REGEX, "parse_bash"], powershell: [REGEX, "parse_powershell"],
  mysql: [REGEX, "parse_mysql", "mysql"], bigquery: [REGEX, "parse_bigquery", "bigquery"],
  oracledb: [REGEX, "parse_oracledb", "oracledb"], snowflake: [REGEX, "parse_snowflake", "snowflake"],
  mssql: [REGEX, "parse_mssql", "ms_sql_server"], postgresql: [REGEX, "parse_sql", "postgresql"],
  duckdb: [REGEX, "parse_duckdb"], graphql: [REGEX, "parse_graphql", "graphql"],
  php: ["windmill-parser-wasm-php", "parse_php"], rust: ["windmill-parser-wasm-rust", "parse_rust"],
  csharp: ["windmill-parser-wasm-csharp", "parse_csharp"], java: ["windmill-parser-wasm-java", "parse_java"],
  nu: ["windmill-parser-wasm-nu", "parse_nu"], ruby: ["windmill-parser-wasm-ruby", "parse_ruby"],
  rlang: ["windmill-parser-wasm-r", "parse_r"], ansible: ["windmill-parser-wasm-yaml", "parse_ansible"],
};
const loaded = new Map();

function load(name) {
  if (!loaded.has(name)) loaded.set(name, import_(name));
  return loaded.get(name);
}

async function import_(name) {
  const folder = join(modules, name);
  const module = await import(pathToFileURL(join(folder, "windmill_parser_wasm.js")).href);
  await module.default({ module_or_path: readFileSync(join(folder, "windmill_parser_wasm_bg.wasm")) });
  return module;
}

async function answer({ language, content }) {
  const [name, parse, resource] = PARSERS[language];
  const signature = JSON.parse((await load(name))[parse](content));
  // A database script is given its connection by a first argument that its text does not name.
  if (resource) signature.args?.unshift({ name: resource === "graphql" ? "api" : "database", typ: { resource } });
  return signature;
}

for (const { key, language, content, path } of asked) {
  const said = { key };
  try {
    if (PARSERS[language]) said.signature = await answer({ language, content });
    if (language === "python3" && path) {
      const parser = await load("windmill-parser-wasm-py-imports");
      said.imports = parser.parse_py_relative_imports(content, path);
    }
    if (PARSERS[language] === TS) {
      const parser = await load(TS[0]);
      said.packages = JSON.parse(parser.parse_ts_imports(content)).imports ?? [];
      if (path) said.imports = parser.parse_ts_relative_imports(content, path);
    }
  } catch (error) {
    said.error = String(error?.message ?? error);
  }
  console.log(JSON.stringify(said));
}
