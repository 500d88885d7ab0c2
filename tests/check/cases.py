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

EXPRESSIONS = [
    Case("a result of no step", "unknown-step", FLOW, "results.first.sum > 3", "results.frist.sum > 3"),
    Case("a result in brackets of no step", "unknown-step", FLOW, 'results["first"]?', 'results["frist"]?'),
    Case("a result of no step in a block", "unknown-step", FLOW, "${results.first.sum}", "${results.fist.sum}"),
    Case("a destructured result of no step", "unknown-step", FLOW, "const {each}", "const {eachh, each}"),
    Case("a result of a later step", "result-not-there", FLOW, "'[results.first.sum]'", "'[results.last.sum]'"),
    Case("a result of the step itself", "result-not-there", FLOW, "expr: flow_input.amount", "expr: results.first"),
    Case("a result of another branch", "result-not-there", FLOW,
         "- id: few\n", "- id: few\n                skip_if:\n                  expr: results.many\n",
         "results.many"),
    Case("a result of the loop around", "result-not-there", FLOW, "expr: flow_input.iter.value", "expr: results.each"),
    Case("a result of a step inside a branch", "result-not-there", FLOW, "results.none`", "` + results.many + `", "results.many",
         warning=True),
    Case("an input that the form does not have", "unknown-input", FLOW, "expr: flow_input.amount", "expr: flow_input.amont"),
    Case("iter outside of a loop", "unknown-input", FLOW, "expr: flow_input.amount", "expr: flow_input.iter.value"),
    Case("a name that nothing defines", "unknown-name", FLOW, "expr: flow_input.amount", "expr: flow_inputs.amount"),
    Case("error outside of the failure module", "unknown-name", FLOW, "'[results.first.sum]'", "'[error]'"),
    Case("result in an input", "unknown-name", FLOW, "expr: flow_input.iter.value", "expr: result"),
    Case("previous_result in the first step", "no-step-before", FLOW, "expr: flow_input.amount", "expr: previous_result",
         warning=True),
    Case("no JavaScript", "javascript-syntax", FLOW, "expr: results.first.sum > 3", "expr: results.first.sum >"),
    Case("a comment at the end of a predicate", "javascript-syntax", FLOW, "expr: results.first.sum > 3",
         "expr: results.first.sum > 3 // many"),
    Case("results in a sleep", "unknown-name", FLOW, "stop_after_if:",
         "sleep:\n        type: javascript\n        expr: results.first\n      stop_after_if:", "expr: results.first\n"),
]  # fmt: skip

STEPS = [
    Case("an id twice", "duplicate-id", FLOW, "- id: last", '- id: "first"'),
    Case("a reserved id", "reserved-id", FLOW, "- id: few", "- id: Input"),
    Case("a script that does not exist", "unknown-path", FLOW, "path: f/shop/add\n      retry", "path: f/shop/ad\n      retry",
         "path: f/shop/ad\n"),
    Case("a path of the disk", "bad-path", FLOW, "path: f/shop/add\n      retry", "path: /tmp/add\n      retry", "path: /tmp/add"),
    Case("a script outside of the bundle", "outside-path", FLOW, "path: f/shop/add\n      retry", "path: u/me/add\n      retry",
         "path: u/me/add", warning=True),
    Case("a flow where a script is wanted", "wrong-kind", FLOW, "path: f/shop/add\n      retry",
         "path: f/shop/order\n      retry", "path: f/shop/order"),
    Case("an argument that the script does not have", "unknown-argument", FLOW, "          unit:\n            type: javascript", "          units:\n            type: javascript", "units:"),
    Case("an argument that is missing", "missing-argument", FLOW,
         "          a:\n            type: javascript\n            expr: flow_input.amount\n", "", "input_transforms:"),
    Case("a constant of the wrong type", "wrong-argument", FLOW, "value: 2", "value: two"),
]  # fmt: skip

CASES = KEYS + EXPRESSIONS + STEPS
