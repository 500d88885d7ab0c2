# ruff: noqa: E501
"""One defect each: in `file` of the good bundle `old` becomes `new`, and `rule` is found in the line that holds `at`."""

from __future__ import annotations

from dataclasses import dataclass

FLOW = "f/shop/order__flow/flow.yaml"
SCRIPT = "f/shop/add.script.yaml"
SCHEDULE = "f/shop/nightly.schedule.yaml"
HTTP = "f/shop/orders.http_trigger.yaml"
RESOURCE = "f/shop/store.resource.yaml"
VARIABLE = "f/shop/currency.variable.yaml"
FOLDER = "f/shop/folder.meta.yaml"


@dataclass(frozen=True)
class Case:
    name: str
    rule: str
    file: str
    old: str
    new: str
    # A text of the line where it is found, `new` when empty; `found_in` when that is another file.
    at: str = ""
    found_in: str = ""
    warning: bool = False


KEYS = [
    Case("an unknown key of a step", "unknown-key", FLOW, "retry:", "rety:"),
    Case("an unknown key deep in a retry", "unknown-key", FLOW, "constant:", "constnt:"),
    Case("an unknown key of a branch", "unknown-key", FLOW, "summary: Many", "sumary: Many"),
    Case(
        "an unknown key of script metadata",
        "unknown-key",
        SCRIPT,
        "kind: script",
        "kind: script\ncache_tl: 3",
        "cache_tl",
    ),
    Case(
        "an unknown key of a schedule",
        "unknown-key",
        SCHEDULE,
        "enabled: false",
        "enabled: false\noverlap: true",
        "overlap: t",
    ),
    Case("an unknown key of an HTTP trigger", "unknown-key", HTTP, "wrap_body: false", "wrap_boddy: false"),
    Case("an unknown key of a resource", "unknown-key", RESOURCE, "description:", "descripton:"),
    Case(
        "an unknown key of a variable",
        "unknown-key",
        VARIABLE,
        "value: EUR",
        "value: EUR\nsecret: true",
        "secret: true",
    ),
    Case("an unknown key of a folder", "unknown-key", FOLDER, "owners: []", "owners: []\nowner: me", "owner: me"),
    Case("an unknown key of wmill.yaml", "unknown-key", "wmill.yaml", "includeTriggers: true", "includeTrigger: true"),
    Case("a number as text", "wrong-type", FLOW, "attempts: 2", "attempts: two"),
    Case("a boolean as text", "wrong-type", SCHEDULE, "enabled: false", "enabled: 'false'"),
    Case("a boolean of YAML 1.1", "wrong-type", SCHEDULE, "enabled: false", "enabled: no"),
    Case("steps that are no list", "wrong-type", FLOW, "default: []", "default: {}"),
    Case("a word that is none of the choices", "wrong-value", HTTP, "http_method: post", "http_method: POST"),
    Case("a kind of script that does not exist", "wrong-value", SCRIPT, "kind: script", "kind: scripts"),
    Case("a kind of step that does not exist", "wrong-value", FLOW, "type: forloopflow", "type: forloop"),
    Case("a missing key", "missing-key", HTTP, "is_static_website: false\n", "", "authentication_method"),
    Case("a key twice", "duplicate-key", SCHEDULE, "is_flow: true", "is_flow: true\nis_flow: false", "is_flow: false"),
    Case("no YAML", "yaml-syntax", SCHEDULE, "enabled: false", "enabled: [false", "is_flow"),
]

# Keys one level too deep or too high; what is said of each is in test_check.py.
MISPLACED = [
    Case(
        "a retry inside of value",
        "unknown-key",
        FLOW,
        "        path: f/shop/add\n      retry:",
        "        path: f/shop/add\n        timeout: 3\n      retry:",
        "timeout: 3",
    ),
    Case(
        "an error handler at the top",
        "unknown-key",
        FLOW,
        "summary: ",
        "error_handler: f/shop/add\nsummary: ",
        "error_handler",
    ),
    Case(
        "a key of the loop beside its value",
        "unknown-key",
        FLOW,
        "- id: each\n",
        "- id: each\n      skip_failures: true\n",
        "skip_failures: true",
    ),
    Case("a schedule in a script", "unknown-key", SCRIPT, "kind: script", "kind: script\ncron: 0 0 * * * *", "cron"),
    Case("a retry in a script", "unknown-key", SCRIPT, "kind: script", "kind: script\nretry: {}", "retry"),
    Case(
        "a handler of a flow in a schedule",
        "unknown-key",
        SCHEDULE,
        "enabled: false",
        "enabled: false\nerror_handler: f/shop/add",
        "error_handler",
    ),
    Case(
        "a path of a trigger",
        "unknown-key",
        HTTP,
        "wrap_body: false",
        "wrap_body: false\nflow_path: f/shop/add",
        "flow_path",
    ),
]

ASKED = [
    Case(
        "a name looked for in results",
        "results-misread",
        FLOW,
        "expr: results.first.sum > 3",
        "expr: '\"first\" in results'",
    ),
    Case(
        "the names of results",
        "results-misread",
        FLOW,
        "expr: results.first.sum > 3",
        "expr: Object.keys(results).length > 0",
    ),
    Case("a spread of results", "results-misread", FLOW, "'[results.first.sum]'", "'[{...results}]'"),
    Case(
        "a result in single quotes",
        "results-misread",
        FLOW,
        "expr: results.first.sum > 3",
        "expr: results['first'].sum > 3",
    ),
    Case(
        "a result that is undefined",
        "results-misread",
        FLOW,
        "expr: results.first.sum > 3",
        "expr: results.first !== undefined",
    ),
    Case(
        "a loop that is skipped by the result before",
        "skip-asked-again",
        FLOW,
        "- id: each\n",
        "- id: each\n      skip_if: {expr: results.first.sum > 9}\n",
        "skip_if",
        warning=True,
    ),
    Case("a step called preprocessor", "reserved-id", FLOW, "- id: few", "- id: preprocessor"),
    Case(
        "a script of the hub without its number",
        "bad-path",
        FLOW,
        "path: f/shop/add\n      retry",
        "path: hub/0/approval\n      retry",
        "path: hub/0",
    ),
    Case(
        "an approval of nobody",
        "not-waited",
        FLOW,
        "- id: each\n",
        "- id: each\n      suspend: {timeout: 5}\n",
        "suspend",
        warning=True,
    ),
]

SECRETS = [
    Case(
        "a password in the environment",
        "plain-secret",
        SCRIPT,
        "kind: script",
        "kind: script\nenvs:\n  - DB_PASSWORD=hunter-22",
        "DB_PASSWORD",
        warning=True,
    ),
    Case(
        "an address with a password in the environment",
        "plain-secret",
        SCRIPT,
        "kind: script",
        "kind: script\nenvs:\n  - DB=postgres://me:hunter@h/d",
        "DB=postgres",
        warning=True,
    ),
    Case(
        "a token among a schedule's arguments",
        "plain-secret",
        SCHEDULE,
        "args:",
        "args:\n  api_token: abcdef123456",
        "api_token",
        warning=True,
    ),
]

EXPRESSIONS = [
    Case("a result of no step", "unknown-step", FLOW, "results.first.sum > 3", "results.frist.sum > 3"),
    Case("a result in brackets of no step", "unknown-step", FLOW, 'results["first"]?', 'results["frist"]?'),
    Case("a result of no step in a block", "unknown-step", FLOW, "${results.first.sum}", "${results.fist.sum}"),
    Case("a destructured result of no step", "unknown-step", FLOW, "const {each}", "const {eachh, each}"),
    Case("a result of a later step", "result-not-there", FLOW, "'[results.first.sum]'", "'[results.last.sum]'"),
    Case("a result of the step itself", "result-not-there", FLOW, "expr: flow_input.amount", "expr: results.first"),
    Case(
        "a result of another branch",
        "result-not-there",
        FLOW,
        "- id: few\n",
        "- id: few\n                skip_if:\n                  expr: results.many\n",
        "results.many",
    ),
    Case("a result of the loop around", "result-not-there", FLOW, "expr: flow_input.iter.value", "expr: results.each"),
    Case(
        "a result of a step inside a branch",
        "result-not-there",
        FLOW,
        "results.none`",
        "` + results.many + `",
        "results.many",
        warning=True,
    ),
    Case(
        "an input that the form does not have",
        "unknown-input",
        FLOW,
        "expr: flow_input.amount",
        "expr: flow_input.amont",
    ),
    Case("iter outside of a loop", "unknown-input", FLOW, "expr: flow_input.amount", "expr: flow_input.iter.value"),
    Case("a name that nothing defines", "unknown-name", FLOW, "expr: flow_input.amount", "expr: flow_inputs.amount"),
    Case("error outside of the failure module", "unknown-name", FLOW, "'[results.first.sum]'", "'[error]'"),
    Case("result in an input", "unknown-name", FLOW, "expr: flow_input.iter.value", "expr: result"),
    Case(
        "previous_result in the first step",
        "no-step-before",
        FLOW,
        "expr: flow_input.amount",
        "expr: previous_result",
        warning=True,
    ),
    Case("no JavaScript", "javascript-syntax", FLOW, "expr: results.first.sum > 3", "expr: results.first.sum >"),
    Case(
        "a comment at the end of a predicate",
        "javascript-syntax",
        FLOW,
        "expr: results.first.sum > 3",
        "expr: results.first.sum > 3 // many",
    ),
    Case(
        "results in a sleep",
        "unknown-name",
        FLOW,
        "stop_after_if:",
        "sleep:\n        type: javascript\n        expr: results.first\n      stop_after_if:",
        "expr: results.first\n",
    ),
]

STEPS = [
    Case("an id twice", "duplicate-id", FLOW, "- id: last", '- id: "first"'),
    Case("a reserved id", "reserved-id", FLOW, "- id: few", "- id: Input"),
    Case(
        "a script that does not exist",
        "unknown-path",
        FLOW,
        "path: f/shop/add\n      retry",
        "path: f/shop/ad\n      retry",
        "path: f/shop/ad\n",
    ),
    Case(
        "a path of the disk",
        "bad-path",
        FLOW,
        "path: f/shop/add\n      retry",
        "path: /tmp/add\n      retry",
        "path: /tmp/add",
    ),
    Case(
        "a script outside of the bundle",
        "outside-path",
        FLOW,
        "path: f/shop/add\n      retry",
        "path: u/me/add\n      retry",
        "path: u/me/add",
        warning=True,
    ),
    Case(
        "a flow where a script is wanted",
        "wrong-kind",
        FLOW,
        "path: f/shop/add\n      retry",
        "path: f/shop/order\n      retry",
        "path: f/shop/order",
    ),
    Case(
        "an argument that the script does not have",
        "unknown-argument",
        FLOW,
        "          unit:\n            type: javascript",
        "          units:\n            type: javascript",
        "units:",
    ),
    Case(
        "an argument that is missing",
        "missing-argument",
        FLOW,
        "          a:\n            type: javascript\n            expr: flow_input.amount\n",
        "",
        "input_transforms:",
    ),
    Case("a constant of the wrong type", "wrong-argument", FLOW, "value: 2", "value: two"),
]

FETCH, FETCH_META, FETCH_LOCK = "f/shop/fetch.py", "f/shop/fetch.script.yaml", "f/shop/fetch.script.lock"

SCHEMAS = [
    Case(
        "an argument that the schema lacks",
        "schema-lacks",
        "f/shop/add.py",
        "b: int = 1",
        "b: int = 1, c: int = 2",
        "properties:",
        SCRIPT,
    ),
    Case(
        "a property that main does not have",
        "schema-extra",
        "f/shop/add.py",
        ', unit: str = "kg"',
        "",
        "    unit:",
        SCRIPT,
    ),
    Case(
        "a field of another type",
        "schema-type",
        SCRIPT,
        "type: integer\n      description: ''\n      default: 1",
        "type: string\n      description: ''\n      default: 1",
        "type: string\n      description: ''\n      default: 1",
    ),
    Case(
        "items of another type",
        "schema-type",
        FETCH_META,
        "items:\n        type: string",
        "items:\n        type: number",
        "type: number",
    ),
    Case(
        "a resource of another type",
        "schema-type",
        FETCH_META,
        "format: resource-c_store",
        "format: resource-postgresql",
    ),
    Case("a default that main does not have", "schema-default", SCRIPT, "default: kg", "default: lb"),
    Case(
        "an argument that is required and not listed",
        "schema-required",
        SCRIPT,
        "  required:\n    - a",
        "  required: []",
    ),
    Case(
        "a required argument that does not exist",
        "schema-required",
        SCRIPT,
        "  required:\n    - a",
        "  required:\n    - a\n    - z",
        "- z",
    ),
    Case(
        "an order of no property",
        "schema-order",
        SCRIPT,
        "    - unit\n",
        "    - unit\n    - size\n",
        "- size",
        warning=True,
    ),
    Case("a script that cannot be parsed", "unparsable", "f/shop/add.py", "b: int = 1", "b: int = 1 1", "def main"),
]

FILES = [
    Case("an inline file that does not exist", "missing-file", FLOW, "'!inline inner.py'", "'!inline iner.py'"),
    Case("an inline lock that does not exist", "missing-file", FLOW, "'!inline failure.lock'", "'!inline failre.lock'"),
    Case("a lock of a script that does not exist", "missing-file", SCRIPT, "add.script.lock", "ad.script.lock"),
    Case(
        "a flow in a folder of the other suffix",
        "wrong-suffix",
        "wmill.yaml",
        "nonDottedPaths: true",
        "nonDottedPaths: false",
        "summary: Order",
        FLOW,
    ),
]

LOCKS = [
    Case("an empty lock", "missing-lock", SCRIPT, "'!inline f/shop/add.script.lock'", "''", "lock:"),
    Case(
        "a step without a lock",
        "missing-lock",
        FLOW,
        "              lock: '!inline inner.lock'\n",
        "",
        "content: '!inline inner.py'",
    ),
    Case(
        "a requirement set that does not exist",
        "unknown-requirements",
        FETCH,
        "# requirements: shop",
        "# requirements: shops",
    ),
    Case("a lock of another set", "stale-lock", FETCH_LOCK, "dependencies: shop:", "dependencies: shp:"),
    Case(
        "a lock older than its set",
        "stale-lock",
        "dependencies/shop.requirements.in",
        "pyyaml\n",
        "pyyaml\ncertifi\n",
        "# workspace-dependencies: shop",
        FETCH_LOCK,
    ),
    Case("a lock for another Python", "stale-lock", FETCH_LOCK, "# py: 3.11", "# py: 3.12"),
    Case(
        "a lock without a package of the set",
        "stale-lock",
        FETCH_LOCK,
        "pyyaml==6.0.2\n",
        "",
        "# workspace-dependencies-mode",
    ),
    Case("a lock with another version", "stale-lock", FETCH_LOCK, "requests==2.32.3", "requests==2.31.0"),
    Case(
        "a package that is imported and not locked",
        "not-locked",
        FETCH,
        "import yaml\n",
        "import numpy\nimport yaml\n",
        "import numpy",
    ),
]

IMPORTS = [
    Case(
        "an import of a module from its folder",
        "untracked-import",
        "f/shop/add.py",
        "def main",
        "from f.shop import label\n\n\ndef main",
        "from f.shop",
    ),
    Case(
        "a relative import from the folder",
        "untracked-import",
        "f/shop/add.py",
        "def main",
        "from . import label\n\n\ndef main",
        "from . import",
    ),
    Case(
        "an import of a script that does not exist",
        "unknown-import",
        FETCH,
        "from f.shop.add import main",
        "from f.shop.ad import main",
    ),
    Case(
        "an import below main",
        "untracked-import",
        "f/shop/add.py",
        "    return",
        "    from f.shop.label import label\n\n    return",
        "    from f.shop.label",
        warning=True,
    ),
]

RESOURCES = [
    Case(
        "a resource of a type that does not exist",
        "unknown-resource-type",
        RESOURCE,
        "resource_type: c_store",
        "resource_type: c_stor",
    ),
    Case(
        "a schema with a type that does not exist",
        "unknown-resource-type",
        FLOW,
        "type: integer\n      description: ''",
        "type: object\n      format: resource-c_shop\n      description: ''",
        "c_shop",
    ),
    Case(
        "an annotation of a type that does not exist",
        "unknown-resource-type",
        FETCH,
        "store: c_store",
        "store: c_stores",
    ),
    Case("a field that the type does not have", "unknown-field", RESOURCE, "url:", "uri:", warning=True),
    Case("a token in clear text", "plain-secret", RESOURCE, "token: $var:f/shop/token", "token: hunter2", warning=True),
    Case(
        "a secret in clear text",
        "plain-secret",
        VARIABLE,
        "is_secret: false",
        "is_secret: true",
        "value: EUR",
        warning=True,
    ),
]

TRIGGERS = [
    Case("a schedule of a flow that does not exist", "unknown-path", SCHEDULE, "f/shop/order", "f/shop/orders"),
    Case(
        "a schedule of a script that is a flow",
        "wrong-kind",
        SCHEDULE,
        "is_flow: true",
        "is_flow: false",
        "script_path",
    ),
    Case(
        "a schedule with an unknown argument",
        "unknown-argument",
        SCHEDULE,
        "  amount: 3",
        "  amount: 3\n  amout: 4",
        "amout",
    ),
    Case("a schedule without an argument", "missing-argument", SCHEDULE, "args:\n  amount: 3", "args: {}"),
    Case("a schedule with an argument of another type", "wrong-argument", SCHEDULE, "amount: 3", "amount: three"),
    Case("a cron expression of five fields", "bad-cron", SCHEDULE, "0 0 3 * * *", "0 3 * * *"),
    Case("a cron expression out of range", "bad-cron", SCHEDULE, "0 0 3 * * *", "0 0 25 * * *"),
    Case("no cron expression", "bad-cron", SCHEDULE, "0 0 3 * * *", "every night"),
    Case("a time zone that does not exist", "bad-timezone", SCHEDULE, "Europe/Vienna", "Europe/Wien"),
    Case(
        "a handler without its kind",
        "bad-path",
        SCHEDULE,
        "enabled: false",
        "enabled: false\non_failure: f/shop/add",
        "on_failure",
    ),
    Case(
        "a trigger of a flow that does not exist",
        "unknown-path",
        HTTP,
        "script_path: f/shop/order",
        "script_path: f/shop/odrer",
    ),
    Case("a route with a slash before it", "bad-route", HTTP, "route_path: shop", "route_path: /shop"),
    Case(
        "a method that needs a resource",
        "missing-key",
        HTTP,
        "authentication_method: windmill",
        "authentication_method: api_key",
    ),
]

FORMS = [
    Case("a flow without a description", "normal-form", FLOW, "description: Takes an order\n", "", "summary: Order"),
    Case("a script without a kind", "normal-form", SCRIPT, "kind: script\n", "", "summary: Add"),
    Case(
        "a default that the server drops",
        "normal-form",
        FLOW,
        "value:\n  modules:",
        "value:\n  same_worker: false\n  modules:",
        "same_worker",
    ),
    Case(
        "a default that the server adds",
        "normal-form",
        FLOW,
        "            parallel: false\n            skip_failure: false\n",
        "",
        "- summary: Many",
    ),
    Case(
        "code in the flow itself",
        "normal-form",
        FLOW,
        "content: '!inline inner.py'",
        "content: |\n                def main(x: int):\n                  return x",
        "content: |",
    ),
    Case(
        "a schedule without its muted key",
        "normal-form",
        SCHEDULE,
        "ws_error_handler_muted: false\n",
        "",
        "summary: Order at night",
    ),
    Case(
        "a trigger without its route's key",
        "normal-form",
        HTTP,
        "route_path_key: shop/orders\n",
        "",
        "authentication_method",
    ),
    Case("a resource without a description", "normal-form", RESOURCE, "description: The store\n", "", "resource_type"),
    Case(
        "a time-out as a number",
        "normal-form",
        FLOW,
        "stop_after_if:",
        "timeout: 60\n      stop_after_if:",
        "timeout: 60",
    ),
]

SETTINGS = [
    Case("schedules that are not pushed", "not-pushed", "wmill.yaml", "includeSchedules: true\n", "", "defaultTs"),
    Case("triggers that are not pushed", "not-pushed", "wmill.yaml", "includeTriggers: true\n", "", "defaultTs"),
    Case(
        "an include that matches nothing", "no-match", "wmill.yaml", "- f/**", "- f/**\n  - u/**", "u/**", warning=True
    ),
    Case("an owner without a right", "owner-without-right", FOLDER, "owners: []", "owners:\n  - u/me", "u/me"),
    Case("a tag with a space", "bad-tag", SCRIPT, "kind: script", "kind: script\ntag: big box", "big box"),
]

LABEL, LABEL_LOCK = "f/shop/label.ts", "f/shop/label.script.lock"
APP = "f/shop/desk__raw_app/backend/"

OTHERS = [
    Case(
        "a TypeScript package that is not locked",
        "not-locked",
        LABEL_LOCK,
        '"windmill-client": "latest"',
        "",
        "windmill-client",
        LABEL,
    ),
    Case(
        "a TypeScript argument that the schema lacks",
        "schema-lacks",
        LABEL,
        "path: string,",
        "path: string, more: number,",
        "  properties:",
        "f/shop/label.script.yaml",
    ),
    Case(
        "a TypeScript argument of another type",
        "schema-type",
        LABEL,
        "path: string",
        "path: number",
        "type: string",
        "f/shop/label.script.yaml",
    ),
    Case(
        "a role that does not exist",
        "wrong-value",
        "users/me@example.com.user.yaml",
        "role: developer",
        "role: develper",
    ),
    Case("an unknown key of a group", "unknown-key", "groups/shop.group.yaml", "members:", "membrs:"),
    Case("an app's flow that does not exist", "unknown-path", APP + "take.yaml", "f/shop/order", "f/shop/odrer"),
    Case("an app's script that is a flow", "wrong-kind", APP + "take.yaml", "type: flow", "type: script", "path:"),
    Case(
        "an app's kind of runnable that does not exist", "wrong-value", APP + "show.yaml", "type: inline", "type: inlne"
    ),
    Case("a runnable without its path", "missing-key", APP + "take.yaml", "path: f/shop/order\n", "", "type: flow"),
    Case("a variable that does not exist", "unknown-variable", RESOURCE, "$var:f/shop/token", "$var:f/shop/tokn"),
    Case("a reference that is not a path", "bad-path", RESOURCE, "$var:f/shop/token", "$var:token", "$var:token"),
    Case(
        "a resource that an expression names and that does not exist",
        "unknown-resource",
        FLOW,
        "expr: flow_input.amount",
        "expr: resource('f/shop/stor').url",
        "f/shop/stor'",
    ),
    Case(
        "a form's default of another type",
        "wrong-argument",
        FLOW,
        "type: integer\n      description: ''\n      default: null",
        "type: integer\n      description: ''\n      default: few",
        "default: few",
    ),
    Case(
        "a form that requires what it does not have",
        "schema-required",
        FLOW,
        "  required:\n    - amount",
        "  required:\n    - amout",
        "- amout",
    ),
    Case(
        "a type that JSON Schema does not have",
        "wrong-value",
        FLOW,
        "    unit:\n      type: string",
        "    unit:\n      type: text",
        "type: text",
    ),
    Case("an id with a space", "bad-id", FLOW, "- id: few", "- id: a few"),
    Case(
        "an early return from no step",
        "unknown-step",
        FLOW,
        "value:\n  modules:",
        "value:\n  early_return: lst\n  modules:",
        "early_return",
    ),
    Case(
        "a key of concurrency by no input",
        "unknown-input",
        FLOW,
        "value:\n  modules:",
        "value:\n  concurrency_key: $args[amout]\n  modules:",
        "concurrency_key",
    ),
    Case(
        "an exponential retry without seconds",
        "retry-seconds",
        FLOW,
        "constant:\n          attempts: 2\n          seconds: 5",
        "exponential:\n          attempts: 2\n          multiplier: 2\n          seconds: 0\n          random_factor: null",
        "seconds: 0",
    ),
    Case(
        "an environment entry without a value",
        "wrong-value",
        SCRIPT,
        "kind: script",
        "kind: script\nenvs:\n  - ONE",
        "- ONE",
    ),
    Case("a variable without a value", "missing-key", VARIABLE, "value: EUR\n", "", "description"),
    Case(
        "a skip handler that does not exist",
        "unknown-path",
        SCHEDULE,
        "enabled: false",
        "enabled: false\ndynamic_skip: f/shop/skip",
        "dynamic_skip",
    ),
    Case(
        "an error handler that does not exist",
        "unknown-path",
        HTTP,
        "http_method: post",
        "error_handler_path: f/shop/failed\nhttp_method: post",
        "error_handler_path",
    ),
    Case(
        "no worker at all",
        "wrong-value",
        "wmill.yaml",
        "nonDottedPaths: true",
        "nonDottedPaths: true\nparallel: 0",
        "parallel",
    ),
    Case(
        "a library where a step wants a script",
        "no-main",
        "f/shop/add.py",
        "def main(",
        "def helper(",
        "path: f/shop/add\n",
        FLOW,
    ),
    Case(
        "an import of a folder's module in a step",
        "untracked-import",
        "f/shop/order__flow/inner.py",
        "def main",
        "from f.shop import add\n\n\ndef main",
        "from f.shop",
    ),
    Case(
        "a package that a step imports and its lock lacks",
        "not-locked",
        "f/shop/order__flow/inner.py",
        "def main",
        "import numpy\n\n\ndef main",
        "import numpy",
    ),
    Case(
        "a step's lock for another Python",
        "stale-lock",
        "f/shop/order__flow/inner.py",
        "def main",
        "# py: ==3.12.*\ndef main",
        "# py: 3.11",
        "f/shop/order__flow/inner.lock",
    ),
]

CASES = (
    OTHERS
    + KEYS
    + MISPLACED
    + ASKED
    + SECRETS
    + EXPRESSIONS
    + STEPS
    + SCHEMAS
    + FILES
    + LOCKS
    + IMPORTS
    + RESOURCES
    + TRIGGERS
    + FORMS
    + SETTINGS
)
