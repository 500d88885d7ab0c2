"""Asks a real Windmill what each of these flows returns, and writes it into cases/, by feature.

    python -m tests.wmlocal.fidelity.make_cases [NAME…]     needs FLEXCORE_LIVE_WINDMILL_URL, _TOKEN and _WORKSPACE

Each flow runs as a preview. Stacks are left out, job ids become UUID. Without names all cases are asked again. Cases
that are not defined here (cases/ has some that were given) stay as they are.
"""

# A table of cases: one line each, as long as it takes.
# fmt: off
# ruff: noqa: E501

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.wmlocal.fidelity import case_files

Value = dict[str, Any]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CASES: dict[str, Value] = {}

ECHO = "def main(x=None):\n    return x\n"
ADD = "def main(a, b):\n    return a + b\n"
BOOM = (
    "class Boom(Exception):\n    def __init__(self, msg, code):\n        super().__init__(msg)\n"
    "        self.code = code\n\ndef main(x=None):\n    raise Boom('boom', 7)\n"
)
FAIL_IF_TWO = "def main(x):\n    if x == 2:\n        raise ValueError('two')\n    return x\n"
HANDLE = "def main(error):\n    return {'was': error}\n"
HANDLE_NO_STACK = "def main(error):\n    error.pop('stack', None)\n    return {'was': error}\n"
RECOVER = "def main(error):\n    return {'recover': True, 'was': error['message']}\n"
# Fails until it was called that often; the count is kept in a file named after the flow job.
UNTIL = (
    "import os\ndef main(until: int, x=None):\n    p = '/tmp/fid_' + os.environ['WM_FLOW_JOB_ID'] + os.environ['WM_FLOW_STEP_ID']\n"
    "    n = len(open(p).read()) if os.path.exists(p) else 0\n    open(p, 'a').write('x')\n"
    "    if n < until:\n        raise ValueError(f'try {n}')\n    return [n, x]\n"
)
# An approval step that answers its own approval: yes or no, with a payload.
APPROVE = (
    "import json, os, urllib.request\n"
    "def ask(path, data=None):\n"
    "    url = os.environ['BASE_INTERNAL_URL'] + '/api/w/' + os.environ['WM_WORKSPACE'] + path\n"
    "    r = urllib.request.Request(url, data, {'Authorization': 'Bearer ' + os.environ['WM_TOKEN'], 'Content-Type': 'application/json'})\n"
    "    return urllib.request.urlopen(r).read().decode()\n"
    "def main(answers):\n"
    "    for n, (kind, payload) in enumerate(answers):\n"
    "        urls = json.loads(ask('/jobs/resume_urls/' + os.environ['WM_JOB_ID'] + '/' + str(n + 1)))\n"
    "        url = urls[kind].split('/api/w/')[1].split('/', 1)[1]\n"
    "        ask('/' + url, json.dumps(payload).encode())\n"
    "    return 'asked'\n"
)


def static(value: Any) -> Value:
    return {"type": "static", "value": value}


def js(expr: str) -> Value:
    return {"type": "javascript", "expr": expr}


def step(id: str, code: str = ECHO, inputs: Value | None = None, **module: Any) -> Value:
    value = {"type": "rawscript", "language": "python3", "lock": "", "content": code, "input_transforms": inputs or {}}
    return {"id": id, "value": value, **module}


def echo(id: str, expr: str, **module: Any) -> Value:
    return step(id, ECHO, {"x": js(expr)}, **module)


def const(id: str, value: Any, **module: Any) -> Value:
    return step(id, ECHO, {"x": static(value)}, **module)


def boom(id: str, **module: Any) -> Value:
    return step(id, BOOM, **module)


def py(id: str, body: str, **module: Any) -> Value:
    """A step from the body of its main."""
    return step(id, "def main(x=None):\n" + "".join(f"    {line}\n" for line in body.split("\n")), **module)


def loop(id: str, iterator: str, modules: list[Value], *, parallel: bool = False, skip_failures: bool = False,
         parallelism: Any = None, **module: Any) -> Value:
    value = {"type": "forloopflow", "iterator": js(iterator), "modules": modules, "skip_failures": skip_failures,
             "parallel": parallel}
    if parallelism is not None:
        value["parallelism"] = parallelism
    return {"id": id, "value": value, **module}


def while_(id: str, modules: list[Value], *, skip_failures: bool = False, **module: Any) -> Value:
    return {"id": id, "value": {"type": "whileloopflow", "modules": modules, "skip_failures": skip_failures}, **module}


def one(id: str, branches: list[tuple[str, list[Value]]], default: list[Value], **module: Any) -> Value:
    made = [{"expr": expr, "modules": modules} for expr, modules in branches]
    return {"id": id, "value": {"type": "branchone", "branches": made, "default": default}, **module}


def every(id: str, branches: list[list[Value]], *, parallel: bool = False, skip: tuple[int, ...] = (),
          **module: Any) -> Value:
    made = [{"modules": m, "skip_failure": i in skip, "parallel": parallel} for i, m in enumerate(branches)]
    return {"id": id, "value": {"type": "branchall", "branches": made, "parallel": parallel}, **module}


def identity(id: str, **module: Any) -> Value:
    return {"id": id, "value": {"type": "identity"}, **module}


def case(name: str, modules: list[Value], args: Value | None = None, **flow: Any) -> None:
    assert name not in CASES, name
    CASES[name] = {"value": {"modules": modules, **flow}, "args": args or {}}


def handler(code: str = HANDLE_NO_STACK, inputs: Value | None = None, **module: Any) -> Value:
    return step("failure", code, {"error": js("error")} if inputs is None else inputs, **module)


def define() -> None:
    expressions()
    results()
    arguments()
    returns()
    errors()
    loops()
    loop_errors()
    whiles()
    branches()
    failures()
    stops()
    retries()
    skips()
    continues()
    asked()
    skipped_loops()
    suspends()
    others()


def expressions() -> None:
    def shown(name: str, expr: str, args: Value | None = None, first: Any = None) -> None:
        modules = [const("a", first)] if first is not None else []
        case(f"js_{name}", [*modules, echo("z", expr)], args)

    shown("arithmetic", "flow_input.n * 2 + 1", {"n": 4})
    shown("float", "flow_input.n / 3", {"n": 1})
    shown("whole_float", "flow_input.n", {"n": 2.0})
    shown("whole_float_in_expression", "flow_input.n + 0", {"n": 2.0})
    shown("big_integer", "flow_input.n", {"n": 12345678901234567890})
    shown("string_number", "'' + flow_input.n", {"n": 2})
    shown("null", "null")
    shown("undefined", "undefined")
    shown("nan", "NaN")
    shown("infinity", "1/0")
    shown("object_literal", "({a: 1, b: [flow_input.n]})", {"n": 2})
    shown("object_bare", "{a: 1}")
    shown("empty", "")
    shown("spaces", "   flow_input.n   ", {"n": 2})
    shown("comment", "flow_input.n // the n", {"n": 2})
    shown("date", "new Date(0)")
    shown("regex", "'abc'.replace(/b/, 'x')")
    shown("optional_chain", "flow_input.o?.b?.c", {"o": {}})
    shown("nullish", "flow_input.o ?? 'none'")
    shown("destructuring", "const {a, b} = flow_input; return a + b", {"a": 1, "b": 2})
    shown("arrow", "[1,2,3].map((x) => x * flow_input.n)", {"n": 2})
    shown("reduce", "flow_input.xs.reduce((a, b) => a + b, 0)", {"xs": [1, 2, 3]})
    shown("spread", "[...flow_input.xs, 4]", {"xs": [1, 2]})
    shown("if_return", "if (flow_input.n > 1) { return 'big' } else { return 'small' }", {"n": 2})
    shown("for_loop", "let s = 0; for (const x of flow_input.xs) s += x; return s", {"xs": [1, 2, 3]})
    shown("no_return", "const q = 1; q + 1")
    shown("semicolon_end", "flow_input.n;", {"n": 2})
    shown("semicolon_in_string", "'a;b'")
    shown("return_only", "return flow_input.n", {"n": 2})
    shown("multiline_statements", "const a = flow_input.n\nconst b = a + 1\nreturn b", {"n": 2})
    shown("multiline_expression", "flow_input.n\n  + 1", {"n": 2})
    shown("function_call", "(function() { return flow_input.n })()", {"n": 2})
    shown("try_catch", "try { return flow_input.a.b.c } catch (e) { return 'caught' }")
    shown("promise", "Promise.resolve(3)")
    shown("await_word", "await Promise.resolve(3)")
    shown("json", "JSON.stringify(flow_input)", {"n": 2})
    shown("keys", "Object.keys(flow_input)", {"n": 2})
    shown("typeof", "typeof flow_input.nothing")
    shown("unicode", "flow_input.s + '→'", {"s": "né"})
    shown("string_length", "flow_input.s.length", {"s": "abc"})
    shown("flow_input_whole", "flow_input", {"n": 2, "m": {"k": None}})
    shown("flow_input_bracket", 'flow_input["n"]', {"n": 2})
    shown("flow_input_quote", "flow_input['n']", {"n": 2})
    shown("flow_input_missing_deep", "flow_input.a.b")
    shown("unknown_name", "nosuchname")
    shown("syntax_error", "flow_input.(")
    shown("throws_string", "(() => { throw 'x' })()")
    shown("throws_error", "(() => { throw new RangeError('far') })()")
    shown("throw_statement", "throw new Error('no')")
    shown("is_not_a_function", "flow_input.n()", {"n": 2})
    shown("bigint", "1n")
    shown("symbol", "Symbol('x')")
    shown("function_value", "() => 1")
    shown("map_value", "new Map([[1, 2]])")
    shown("circular", "const a = {}; a.a = a; return a")
    shown("result_unknown_id", "results.nosuch")
    shown("result_unknown_id_deep", "results.nosuch.a.b")
    shown("result_unknown_id_js", "results.nosuch.a + 1")
    shown("result_path", "results.a.k.v", first={"k": {"v": 1}})
    shown("result_path_missing", "results.a.k.v.w.x", first={"k": 1})
    shown("result_path_js_missing", "results.a.k.v.w + 1", first={"k": 1})
    shown("result_index", "results.a[1]", first=[5, 6])
    shown("result_index_out", "results.a[7]", first=[5, 6])
    shown("result_index_path", "results.a[0].k", first=[{"k": 1}])
    shown("result_index_path_missing", "results.a[0].k.j.i", first=[{"k": 1}])
    shown("result_length", "results.a.length", first=[1, 2, 3])
    shown("result_bracket", 'results["a"].k', first={"k": 1})
    shown("result_quote", "results['a'].k", first={"k": 1})
    shown("result_quote_whole", "results['a']", first={"k": 1})
    shown("result_optional", "results?.a", first={"k": 1})
    shown("result_in_template", "`${results.a} and ${results.a}`", first=1)
    shown("result_map", "results.a.map(x => x * 2)", first=[1, 2])
    shown("result_keys", "Object.keys(results.a)", first={"k": 1})
    shown("result_destructured", "const {a} = results; return a.k", first={"k": 1})
    shown("result_dynamic", "results[flow_input.id]", {"id": "a"}, first={"k": 1})
    shown("previous_result", "previous_result.k", first={"k": 1})
    shown("previous_result_in_js", "previous_result.k + 1", first={"k": 1})
    shown("error_without_error", "error", first={"k": 1})
    shown("error_word_in_text", "'no error'", first={"k": 1})
    shown("resume_without_suspend", "resume")
    shown("resumes_without_suspend", "resumes")
    shown("approvers_without_suspend", "approvers")
    shown("params", "params")
    shown("result_word", "result", first=1)
    shown("iter_outside", "flow_input.iter")
    shown("variable_missing", "variable('f/none/none')")
    shown("resource_missing", "resource('f/none/none')")
    shown("variable_missing_caught", "try { return variable('f/none/none') } catch (e) { return 'caught' }")
    shown("infinite_recursion", "(function f() { return f() })()")
    shown("boolean_false", "false")
    shown("zero", "0")
    shown("empty_string", "''")
    shown("env_missing", "flow_env.nosuch")
    case("js_first_previous_result", [echo("z", "previous_result")], {"n": 1})
    case("js_first_previous_result_path", [echo("z", "previous_result.n + 1")], {"n": 1})
    case("js_missing_argument_not_default", [step("z", "def main(x=7):\n    return x\n", {})])
    case("js_null_uses_default", [step("z", "def main(x=7):\n    return x\n", {"x": js("null")})])
    case("js_no_default_is_none", [step("z", "def main(x):\n    return x\n", {})])
    case("js_two_inputs_one_throws", [step("z", ADD, {"a": js("1"), "b": js("flow_input.x.y.z")})])
    case("flow_env_nested", [echo("z", "flow_env.O.k")], flow_env={"O": {"k": 1}})
    case("flow_env_in_loop", [loop("l", "[1]", [echo("z", "flow_env.R")])], flow_env={"R": "eu"})
    case("flow_env_in_condition", [one("b", [("flow_env.R == 'eu'", [const("c", 1)])], [const("d", 2)])],
         flow_env={"R": "eu"})
    case("flow_env_whole", [echo("z", "flow_env")], flow_env={"R": "eu", "n": 2})
    case("flow_env_expression", [echo("z", "flow_env.R + '-' + flow_env.n")], flow_env={"R": "eu", "n": 2})
    case("flow_env_missing_reference", [echo("z", "flow_env.R")], flow_env={"R": "$res:f/none/none"})


def results() -> None:
    inner = [const("c", {"k": 5})]
    case("results_of_inner_branch_step", [one("b", [("true", inner)], []), echo("z", "results.c")])
    case("results_of_inner_branch_path", [one("b", [("true", inner)], []), echo("z", "results.c.k")])
    case("results_of_inner_loop_step", [loop("l", "[1,2]", [echo("c", "flow_input.iter.value")]), echo("z", "results.c")])
    case("results_of_inner_parallel_loop_step",
         [loop("l", "[1,2]", [echo("c", "flow_input.iter.value")], parallel=True), echo("z", "results.c")])
    case("results_of_outer_step_in_loop", [const("a", 3), loop("l", "[1,2]", [echo("z", "results.a")])])
    case("results_of_outer_step_in_parallel_loop",
         [const("a", 3), loop("l", "[1,2]", [echo("z", "results.a + flow_input.iter.value")], parallel=True)])
    case("results_of_outer_step_in_branch", [const("a", 3), one("b", [("true", [echo("z", "results.a")])], [])])
    case("results_of_outer_step_in_branchall", [const("a", 3), every("b", [[echo("z", "results.a")]], parallel=True)])
    case("results_in_branch_condition", [const("a", 3), one("b", [("results.a == 3", [const("c", 1)])], [const("d", 2)])])
    case("results_two_before_in_condition",
         [const("a", 3), const("m", 0), one("b", [("results.a == 3", [const("c", 1)])], [const("d", 2)])])
    case("results_in_iterator", [const("a", [1, 2]), loop("l", "results.a", [echo("z", "flow_input.iter.value")])])
    case("results_of_loop_index", [loop("l", "[5,6]", [echo("c", "flow_input.iter.value")]), const("m", 0),
                                   echo("z", "results.l[1]")])
    case("results_of_loop_index_path",
         [loop("l", "[5,6]", [step("c", "def main(x):\n    return {'k': x}\n", {"x": js("flow_input.iter.value")})]),
          const("m", 0), echo("z", "results.l[1].k")])
    case("results_of_loop_named_path", [loop("l", "[5,6]", [echo("c", "flow_input.iter.value")]), const("m", 0),
                                        echo("z", "results.l.foo")])
    case("results_of_loop_length", [loop("l", "[5,6]", [echo("c", "flow_input.iter.value")]), echo("z", "results.l.length")])
    case("results_of_branchall_index", [every("b", [[const("c", 5)], [const("d", 6)]]), const("m", 0),
                                        echo("z", "results.b[0]")])
    case("results_forward_reference", [echo("a", "results.z"), const("z", 1)])
    case("results_self_reference", [echo("a", "results.a")])
    case("results_in_loop_of_sibling", [loop("l", "[1,2]", [echo("c", "flow_input.iter.value"), echo("d", "results.c * 10")])])
    case("results_previous_in_loop", [loop("l", "[1,2]", [echo("c", "previous_result")])], {"k": 1})
    case("results_of_skipped", [const("a", 1, skip_if={"expr": "true"}), echo("z", "results.a")], {"k": 2})
    case("results_nested_loop_scope",
         [loop("l", "[1,2]", [loop("m", "[10,20]", [echo("c", "flow_input.iter.value + flow_input.iter_parent.value")])])])
    case("results_iter_parent_twice",
         [loop("l", "[1]", [loop("m", "[2]", [loop("n", "[3]", [echo("c", "flow_input")])])])])
    case("results_iter_argument", [loop("l", "[1]", [echo("c", "flow_input")])], {"iter": "mine"})


def arguments() -> None:
    def given(name: str, code: str, inputs: Value) -> None:
        case(f"arg_{name}", [step("a", code, {k: static(v) for k, v in inputs.items()})])

    given("datetime", "from datetime import datetime\ndef main(d: datetime):\n    return [str(type(d)), d.year]\n",
          {"d": "2026-01-02T03:04:05"})
    given("datetime_zone", "import datetime\ndef main(d: datetime.datetime):\n    return str(d)\n", {"d": "2026-01-02T03:04:05+01:00"})
    given("datetime_bad", "from datetime import datetime\ndef main(d: datetime):\n    return d\n", {"d": "nonsense"})
    given("datetime_none", "from datetime import datetime\ndef main(d: datetime = None):\n    return d\n", {"d": None})
    given("date", "from datetime import date\ndef main(d: date):\n    return [type(d).__name__, d.day]\n", {"d": "2026-01-02"})
    given("date_other_form", "from datetime import date\ndef main(d: date):\n    return str(d)\n", {"d": "02-01-2026"})
    given("date_bad", "from datetime import date\ndef main(d: date):\n    return str(d)\n", {"d": "nonsense"})
    given("bytes_bad", "def main(b: bytes):\n    return b\n", {"b": "?"})
    given("bytes_optional", "def main(b: bytes | None = None):\n    return b\n", {"b": "aGk="})
    given("bytes_typing_optional", "from typing import Optional\ndef main(b: Optional[bytes] = None):\n    return b\n", {"b": "aGk="})
    given("bytes_list", "def main(b: list[bytes]):\n    return b\n", {"b": ["aGk="]})
    given("int_given_text", "def main(n: int):\n    return [n, type(n).__name__]\n", {"n": "5"})
    given("negative_default", "def main(n=-1):\n    return n\n", {})
    given("call_default", "def main(n=list((1, 2))):\n    return n\n", {})
    given("list_default", "def main(n=[1]):\n    return n\n", {})
    given("fstring_default", "K = 3\ndef main(n=f'{K}'):\n    return n\n", {})
    given("name_default", "K = 3\ndef main(n=K):\n    return n\n", {})
    given("attribute_default", "import math\ndef main(n=math.pi):\n    return n\n", {})
    given("tuple_default", "def main(n=(1, 2)):\n    return n\n", {})
    given("none_default", "def main(n=None):\n    return n\n", {})
    given("false_default", "def main(n=False):\n    return n\n", {"n": True})
    given("keyword_only", "def main(*, n=3):\n    return n\n", {"n": 4})
    given("keyword_only_required", "def main(*, n):\n    return n\n", {"n": 4})
    given("star_args", "def main(a, *rest):\n    return [a, rest]\n", {"a": 1, "rest": [2]})
    given("star_kwargs", "def main(**all):\n    return all\n", {"a": 1, "b": 2})
    given("named_and_kwargs", "def main(a, b=2, **rest):\n    return [a, b, rest]\n", {"a": 1, "c": 3})
    given("kwargs_missing", "def main(a, **rest):\n    return [a, rest]\n", {"c": 3})
    given("positional_only", "def main(a, /, b):\n    return [a, b]\n", {"a": 1, "b": 2})
    given("function_call_text", "def main(a=5):\n    return a\n", {"a": "<function call>"})
    given("async_main", "async def main(a=5):\n    return a\n", {"a": 1})
    given("multiline_signature", "def main(\n    a: str = 'x)',\n    b: int = 2,\n):\n    return [a, b]\n", {"b": 3})
    given("pydantic_like_class", "class M:\n    pass\ndef main(m: M):\n    return type(m).__name__\n", {"m": {"a": 1}})
    given("dollar_text", "def main(a):\n    return a\n", {"a": "$notaref"})
    given("dollar_var_missing", "def main(a):\n    return a\n", {"a": "$var:f/none/none"})
    given("dollar_res_missing", "def main(a):\n    return a\n", {"a": "$res:f/none/none"})
    given("dollar_res_nested_missing", "def main(a):\n    return a\n", {"a": {"b": ["$res:f/none/none"]}})
    given("dollar_res_short", "def main(a):\n    return a\n", {"a": "$res:x"})
    given("unicode", "def main(a):\n    return a + '☃'\n", {"a": "né \u2028 \U0001f600"})
    given("nul", "def main(a):\n    return len(a)\n", {"a": "a\\u0000b"})
    given("deep", "def main(a):\n    return a\n", {"a": {"b": {"c": [1, {"d": None}]}}})
    given("empty_name", "def main(a=''):\n    return a\n", {"a": ""})
    case("arg_whole_flow_input", [step("a", "def main(**k):\n    return k\n", {"x": js("flow_input")})], {"b": 1, "c": None})
    case("arg_no_main", [step("a", "def other():\n    return 1\n")])
    case("arg_main_not_callable", [step("a", "main = 3\n")])
    case("arg_main_from_elsewhere", [step("a", "from os.path import basename as main\n", {"p": static("a/b")})])
    case("arg_syntax_error", [step("a", "def main(:\n    return 1\n")])
    case("arg_syntax_error_in_body", [step("a", "def main():\n    return (1\n")])
    case("arg_import_error_at_top", [step("a", "import nosuchmodule_xyz\ndef main():\n    return 1\n")])
    case("arg_error_at_top", [step("a", "raise ValueError('top')\ndef main():\n    return 1\n")])
    case("arg_exit_at_top", [step("a", "import sys\nprint('bye')\nsys.exit(4)\ndef main():\n    return 1\n")])


def returns() -> None:
    def gives(name: str, expression: str, setup: str = "") -> None:
        code = f"{setup}\ndef main():\n    return {expression}\n" if setup else f"def main():\n    return {expression}\n"
        case(f"returns_{name}", [step("a", code)])

    gives("datetime", "datetime(2026, 1, 2, 3, 4, 5)", "from datetime import datetime")
    gives("date", "date(2026, 1, 2)", "from datetime import date")
    gives("timedelta", "timedelta(hours=1)", "from datetime import timedelta")
    gives("decimal", "{'d': Decimal('1.10')}", "from decimal import Decimal")
    gives("fraction", "Fraction(1, 3)", "from fractions import Fraction")
    gives("enum", "E.A", "from enum import Enum\nclass E(Enum):\n    A = 'x'")
    gives("str_enum", "E.A", "from enum import StrEnum\nclass E(StrEnum):\n    A = 'x'")
    gives("int_enum", "E.A", "from enum import IntEnum\nclass E(IntEnum):\n    A = 3")
    gives("dataclass", "D(1)", "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int")
    gives("namedtuple", "P(1, 2)", "from collections import namedtuple\nP = namedtuple('P', 'a b')")
    gives("bytes", "b'hello'")
    gives("bytes_in_dict", "{'b': b'hello', 'n': {'c': b'deep'}}")
    gives("bytes_in_list", "[b'hello']")
    gives("bytearray", "bytearray(b'hi')")
    gives("memoryview", "memoryview(b'hi').tolist()")
    gives("real_set", "{1}")
    gives("frozenset", "frozenset([1])")
    gives("tuple", "(1, 'a')")
    gives("range", "range(3)")
    gives("complex", "1j")
    gives("ellipsis", "...")
    gives("type", "int")
    gives("path", "Path('/a/b')", "from pathlib import Path")
    gives("uuid", "str(UUID(int=5))[:8]", "from uuid import UUID")
    gives("deque", "deque([1])", "from collections import deque")
    gives("dict_keys", "{'a': 1}.keys()")
    gives("ordered_dict", "OrderedDict(a=1)", "from collections import OrderedDict")
    gives("default_dict", "defaultdict(int, a=1)", "from collections import defaultdict")
    gives("counter", "Counter('aab')", "from collections import Counter")
    gives("int_keys", "{1: 'a', None: 'b', True: 'c'}")
    gives("tuple_keys", "{(1, 2): 'a'}")
    gives("nan_alone", "float('nan')")
    gives("minus_infinity", "[float('-inf'), 1]")
    gives("nan_in_text", "'NaN and Infinity'")
    gives("nan_beside_text", "{'t': 'NaN', 'v': float('nan')}")
    gives("nan_as_key", "{float('nan'): 1}")
    gives("nul_text", "'a\\x00b'")
    gives("escaped_nul_text", "'a\\\\u0000b'")
    gives("lone_surrogate", "'\\ud800'")
    gives("emoji", "'\\U0001f600 né'")
    gives("newlines", "'a\\nb\\r\\n'")
    gives("quotes", "'\"\\\\'")
    gives("long_int", "10 ** 25")
    gives("float_exponent", "1e300")
    gives("small_float", "1e-7")
    gives("whole_float", "2.0")
    gives("negative_zero", "-0.0")
    gives("bool", "True")
    gives("empty_text", "''")
    gives("empty_list", "[]")
    gives("empty_dict", "{}")
    gives("nested", "{'a': [{'b': None}]}")
    gives("lambda", "lambda: 1")
    gives("class_with_iter", "C()", "class C:\n    def __iter__(self):\n        return iter(['x', 'y'])")
    gives("class_with_int_iter", "C()", "class C:\n    def __iter__(self):\n        return iter([1])")
    gives("class_with_str", "C()", "class C:\n    def __str__(self):\n        return 'me'")
    gives("class_str_fails", "C()", "class C:\n    def __str__(self):\n        raise ValueError('no text')")
    gives("dict_subclass", "D(a=b'x')", "class D(dict):\n    pass")
    gives("circular", "L", "L = []\nL.append(L)")
    gives("map_object", "map(str, [1, 2])")
    gives("map_of_int", "map(int, [1, 2])")
    gives("zip_object", "zip('ab', 'cd')")
    gives("file_object", "open('args.json')")
    gives("iterator_empty", "iter([])")
    gives("wm_labels", "{'wm_labels': ['a'], 'v': 1}")
    gives("wm_failure", "{'wm_failure': 'bad', 'v': 1}")
    gives("wm_failure_number", "{'wm_failure': 3}")
    gives("error_key", "{'error': 'mine'}")
    gives("render_all", "{'render_all': [{'markdown': '# t'}]}")
    case("returns_wm_failure_then_next", [py("a", "return {'wm_failure': 'bad', 'v': 1}"), const("b", 1)])
    case("returns_wm_failure_handled", [py("a", "return {'wm_failure': 'bad', 'v': 1}")], failure_module=handler())
    case("returns_error_key_then_error", [py("a", "return {'error': {'message': 'm', 'name': 'n'}}"), echo("z", "error")])
    case("returns_generator_newline", [py("a", "yield 'a\\nb'\nyield 'c'")])
    case("returns_generator_of_int", [py("a", "yield 1")])
    case("returns_generator_with_return", [py("a", "yield 'a'\nreturn 5")])
    case("returns_generator_fails", [py("a", "yield 'a'\nraise ValueError('late')")])
    case("returns_generator_empty", [py("a", "return\nyield")])
    case("returns_generator_empty_text", [py("a", "yield ''\nyield 'b'")])
    case("returns_stream_and_dict", [py("a", "print('WM_STREAM: s')\nreturn {'k': 1}")])
    case("returns_stream_and_text", [py("a", "print('WM_STREAM: s')\nreturn 'own'")])
    case("returns_stream_and_none", [py("a", "print('WM_STREAM: s')")])
    case("returns_args_file", [py("a", "import json\nreturn json.load(open('args.json'))", ) | {}])
    case("returns_cwd_files", [py("a", "import os\nreturn sorted(f for f in os.listdir('.') if f in ('args.json', 'wrapper.py', 'loader.py'))")])
    case("returns_name", [py("a", "return [__name__ == '__main__', __name__.split('.')[-1]]")])
    case("returns_stdin", [py("a", "import sys\nreturn sys.stdin.read()")])
    case("returns_signal_group", [py("a", "import os\nreturn os.getpgid(0) == os.getpid()")])
    case("returns_much_log", [py("a", "for i in range(20000):\n    print('line', i)\nreturn 'done'")])
    case("returns_long_line", [py("a", "print('x' * 2_000_000)\nreturn 'done'")])
    case("returns_bad_utf8_log", [py("a", "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\n')\nreturn 'done'")])


def errors() -> None:
    def fails(name: str, body: str) -> None:
        case(f"error_{name}", [py("a", body)])

    def raises(name: str, setup: str, expression: str) -> None:
        case(f"error_{name}", [step("a", f"{setup}\ndef main():\n    raise {expression}\n")])

    fails("key_error", "return {}['k']")
    fails("key_error_int", "return {}[1]")
    fails("index_error", "return [][1]")
    fails("zero_division", "return 1 / 0")
    fails("attribute", "return None.x")
    fails("type_error", "return 'a' + 1")
    fails("assertion", "assert False, 'claim'")
    fails("assertion_bare", "assert False")
    fails("no_message", "raise ValueError")
    fails("two_arguments", "raise ValueError('a', 2)")
    fails("os_error", "open('/no/such/file')")
    fails("unicode_error", "b'\\xff'.decode()")
    fails("json_error", "import json\njson.loads('{')")
    fails("chained", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise RuntimeError('outer') from e")
    fails("notes", "e = ValueError('x')\ne.add_note('more')\nraise e")
    fails("keyboard_interrupt", "raise KeyboardInterrupt")
    fails("keyboard_interrupt_text", "raise KeyboardInterrupt('stop')")
    fails("generator_exit", "raise GeneratorExit('g')")
    fails("stop_iteration", "raise StopIteration(3)")
    fails("recursion", "def f():\n    return f()\nreturn f()")
    fails("memory", "raise MemoryError()")
    fails("exit_three", "import sys\nsys.exit(3)")
    fails("exit_text", "import sys\nsys.exit('bye')")
    fails("exit_none", "import sys\nsys.exit()")
    fails("os_exit_seven", "import os\nprint('last words', flush=True)\nos._exit(7)")
    fails("os_exit_silent", "import os\nos._exit(2)")
    fails("kill_self", "import os\nos.kill(os.getpid(), 9)")
    fails("terminate_self", "import os\nos.kill(os.getpid(), 15)")
    fails("abort", "import os\nos.abort()")
    fails("group", "raise ExceptionGroup('many', [ValueError('a'), KeyError('b')])")
    fails("newline_message", "raise ValueError('a\\nb')")
    fails("unicode_message", "raise ValueError('né ☃')")
    fails("long_message", "raise ValueError('x' * 3000)")
    raises("extra_many", "class E(Exception):\n    pass", "_with(E('m'))\ndef _with(e):\n    e.a, e.b = 1, {'c': [2]}\n    return e")
    raises("extra_unserialisable", "class E(Exception):\n    def __init__(self):\n        super().__init__('m')\n        self.o = object\n        self.s = {1}", "E()")
    raises("extra_datetime", "from datetime import datetime\nclass E(Exception):\n    def __init__(self):\n        super().__init__('m')\n        self.t = datetime(2026, 1, 2)", "E()")
    raises("extra_nan", "class E(Exception):\n    def __init__(self):\n        super().__init__('m')\n        self.n = 1.5", "E()")
    raises("extra_private", "class E(Exception):\n    def __init__(self):\n        super().__init__('m')\n        self._p = 1", "E()")
    raises("str_fails", "class E(Exception):\n    def __str__(self):\n        raise ValueError('no text')", "E('m')")
    raises("slots", "class E(Exception):\n    __slots__ = ('a',)", "E('m')")
    raises("class_attribute", "class E(Exception):\n    a = 1", "E('m')")
    raises("empty_message", "class E(Exception):\n    pass", "E('')")
    case("error_in_second_step", [const("a", 1), boom("b"), const("c", 2)])
    case("error_timeout_text", [py("a", "import time\nprint('begin', flush=True)\ntime.sleep(30)", timeout=static(1))])
    case("error_timeout_number", [py("a", "import time\ntime.sleep(30)", timeout=1)])
    case("error_timeout_expression", [py("a", "import time\ntime.sleep(30)", timeout=js("flow_input.t"))], {"t": 1})
    case("error_timeout_negative", [py("a", "return 1", timeout=static(-1))])
    case("error_timeout_is_text", [py("a", "return 1", timeout=static("x"))])
    case("error_timeout_enough", [py("a", "return 1", timeout=static(30))])
    case("error_timeout_handled", [py("a", "import time\ntime.sleep(30)", timeout=static(1))], failure_module=handler())
    case("error_timeout_in_loop", [loop("l", "[1]", [py("a", "import time\ntime.sleep(30)", timeout=static(1))])])
    case("error_timeout_retried", [py("a", "import time\ntime.sleep(30)", timeout=static(1), retry={"constant": {"attempts": 1, "seconds": 0}})])
    case("error_grandchild_holds_output", [py("a", "import subprocess\nsubprocess.Popen(['sleep', '20'])\nreturn 'done'")])
    case("error_exit_zero_without_result", [py("a", "import os\nos._exit(0)")])


def loops() -> None:
    it = "flow_input.iter.value"
    case("loop_static", [{"id": "l", "value": {"type": "forloopflow", "iterator": static([1, 2]), "modules": [echo("b", it)],
                                               "skip_failures": False, "parallel": False}}])
    case("loop_two_steps", [loop("l", "[1,2]", [echo("b", it), echo("c", "previous_result + 10")])])
    case("loop_inner_first_previous", [const("a", 9), loop("l", "[1,2]", [echo("b", "previous_result")])])
    case("loop_not_array", [loop("l", "5", [echo("b", it)])])
    case("loop_object", [loop("l", "({a: 1})", [echo("b", it)])])
    case("loop_text", [loop("l", "'abc'", [echo("b", it)])])
    case("loop_null", [loop("l", "flow_input.none", [echo("b", it)])])
    case("loop_true", [loop("l", "true", [echo("b", it)])])
    case("loop_not_array_second", [const("a", 1), loop("l", "5", [echo("b", it)])])
    case("loop_not_array_handled", [loop("l", "5", [echo("b", it)])], failure_module=handler())
    case("loop_not_array_second_handled", [const("a", 1), loop("l", "5", [echo("b", it)])], failure_module=handler())
    case("loop_iterator_throws", [loop("l", "flow_input.a.b.c", [echo("b", it)])])
    case("loop_iterator_throws_second", [const("a", 1), loop("l", "flow_input.a.b.c", [echo("b", it)])])
    case("loop_no_modules", [loop("l", "[1,2]", [])])
    case("loop_no_modules_last_result", [const("a", 1), loop("l", "[1,2]", []), echo("z", "results.l")])
    case("loop_empty_in_middle", [const("a", 1), loop("l", "[]", [echo("b", it)]), echo("z", "previous_result")])
    case("loop_empty_parallel", [loop("l", "[]", [echo("b", it)], parallel=True), echo("z", "results.l")])
    case("loop_of_objects", [loop("l", "[{k: 1}, {k: 2}]", [echo("b", "flow_input.iter.value.k")])])
    case("loop_of_nulls", [loop("l", "[null, null]", [echo("b", it)])])
    case("loop_nested", [loop("l", "[[1,2],[3]]", [loop("m", it, [echo("b", it)])])])
    case("loop_nested_parallel", [loop("l", "[[1,2],[3]]", [loop("m", it, [echo("b", it)], parallel=True)], parallel=True)])
    case("loop_of_branches", [loop("l", "[1,2]", [one("b", [(f"{it} == 1", [const("c", "one")])], [const("d", "other")])])])
    case("loop_of_branchall", [loop("l", "[1,2]", [every("b", [[echo("c", it)], [const("d", 0)]], parallel=True)])])
    case("loop_parallel_two_steps", [loop("l", "[1,2,3]", [echo("b", it), echo("c", "previous_result * 10")], parallel=True)])
    case("loop_parallelism_one", [loop("l", "[1,2,3]", [echo("b", it)], parallel=True, parallelism=static(1))])
    case("loop_parallelism_number", [loop("l", "[1,2,3]", [echo("b", it)], parallel=True, parallelism=2)])
    case("loop_parallelism_expression", [loop("l", "[1,2,3]", [echo("b", it)], parallel=True, parallelism=js("flow_input.p"))], {"p": 2})
    case("loop_parallel_order", [loop("l", "[3,1,2]", [step("b", "import time\ndef main(x):\n    time.sleep(x / 5)\n    return x\n", {"x": js(it)})], parallel=True)])
    case("loop_big", [loop("l", "Array.from({length: 12}, (_, i) => i)", [echo("b", it)], parallel=True)])
    case("loop_then_loop", [loop("l", "[1,2]", [echo("b", it)]), loop("m", "results.l", [echo("c", f"{it} + 1")])])
    case("loop_identity", [loop("l", "[1,2]", [identity("i")])], {"k": 1})
    case("loop_env_ids", [loop("l", "[1,2]", [step("b", "import os\ndef main():\n    e = os.environ\n    return [e['WM_FLOW_STEP_ID'], e['WM_ROOT_JOB_ID'] == e['WM_ROOT_FLOW_JOB_ID'], e['WM_ROOT_FLOW_JOB_ID'] == e['WM_FLOW_JOB_ID']]\n")])])
    case("loop_env_ids_two_steps", [loop("l", "[1,2]", [step(i, "import os\ndef main():\n    e = os.environ\n    return [e['WM_FLOW_STEP_ID'], e['WM_ROOT_JOB_ID'] == e['WM_ROOT_FLOW_JOB_ID'], e['WM_ROOT_FLOW_JOB_ID'] == e['WM_FLOW_JOB_ID']]\n") for i in "bc"])])
    case("loop_parallel_env_ids", [loop("l", "[1,2]", [step("b", "import os\ndef main():\n    e = os.environ\n    return [e['WM_FLOW_STEP_ID'], e['WM_ROOT_JOB_ID'] == e['WM_ROOT_FLOW_JOB_ID'], e['WM_ROOT_FLOW_JOB_ID'] == e['WM_FLOW_JOB_ID']]\n")], parallel=True)])
    case("loop_sleep_inside", [loop("l", "[1,2]", [echo("b", it, sleep=static(1)), echo("c", "previous_result")])])
    case("loop_mock_inside", [loop("l", "[1,2]", [boom("b", mock={"enabled": True, "return_value": 4})])])
    case("loop_mocked", [loop("l", "[1,2]", [boom("b")], mock={"enabled": True, "return_value": [7]}), echo("z", "results.l")])
    case("loop_skip_if_inside", [loop("l", "[1,2]", [const("a", "first"), echo("b", it, skip_if={"expr": f"{it} == 1"})])])
    case("loop_skip_if", [const("a", 3), loop("l", "[1,2]", [echo("b", it)], skip_if={"expr": "results.a == 3"}), echo("z", "results.l")])
    case("loop_in_branch_in_loop", [loop("l", "[1,2]", [one("b", [("true", [loop("m", "[5]", [echo("c", "flow_input.iter.value + flow_input.iter_parent.value")])])], [])])])


def loop_errors() -> None:
    it = "flow_input.iter.value"
    body = [step("b", FAIL_IF_TWO, {"x": js(it)})]
    two = [step("b", FAIL_IF_TWO, {"x": js(it)}), echo("c", "previous_result")]
    variants: dict[str, Value] = {"": {}, "_parallel": {"parallel": True}}
    for name, options in variants.items():
        case(f"loop{name}_error_then_step", [loop("l", "[1,2,3]", body, **options), const("z", 1)])
        case(f"loop{name}_error_skip", [loop("l", "[1,2,3]", body, skip_failures=True, **options)])
        case(f"loop{name}_error_skip_then", [loop("l", "[1,2,3]", body, skip_failures=True, **options), echo("z", "results.l")])
        case(f"loop{name}_error_two_steps", [loop("l", "[1,2,3]", two, **options)])
        case(f"loop{name}_error_handled", [loop("l", "[1,2,3]", body, **options)], failure_module=handler())
        case(f"loop{name}_error_recovered", [loop("l", "[1,2,3]", body, **options), const("z", 1)], failure_module=handler(RECOVER))
        case(f"loop{name}_error_recovered_last", [loop("l", "[1,2,3]", body, **options)], failure_module=handler(RECOVER))
        case(f"loop{name}_error_skip_handled", [loop("l", "[1,2,3]", body, skip_failures=True, **options)], failure_module=handler())
        case(f"loop{name}_error_skip_recovered", [loop("l", "[1,2,3]", body, skip_failures=True, **options), echo("z", "results.l")], failure_module=handler(RECOVER))
        case(f"loop{name}_error_continue", [loop("l", "[1,2,3]", body, continue_on_error=True, **options), echo("z", "results.l")])
        case(f"loop{name}_error_continue_last", [loop("l", "[1,2,3]", body, continue_on_error=True, **options)])
        case(f"loop{name}_error_continue_inside", [loop("l", "[1,2,3]", [step("b", FAIL_IF_TWO, {"x": js(it)}, continue_on_error=True), echo("c", "previous_result")], **options)])
        case(f"loop{name}_error_inside_last_continue", [loop("l", "[1,2,3]", [step("b", FAIL_IF_TWO, {"x": js(it)}, continue_on_error=True)], **options)])
        case(f"loop{name}_error_retry_inside", [loop("l", "[1,2]", [step("b", UNTIL, {"until": static(1), "x": js(it)}, retry={"constant": {"attempts": 2, "seconds": 0}})], **options)])
        case(f"loop{name}_error_two_failures", [loop("l", "[2,2,3]", body, **options)])
        case(f"loop{name}_error_all_fail", [loop("l", "[2,2]", body, skip_failures=True, **options)])
        case(f"loop{name}_error_expression", [loop("l", "[1,2]", [echo("b", "flow_input.a.b.c")], **options)])
        case(f"loop{name}_error_exit", [loop("l", "[1]", [py("b", "import sys\nsys.exit(3)")], **options)])
        case(f"loop{name}_error_handler_fails", [loop("l", "[1,2]", body, **options)], failure_module=handler("def main(error):\n    raise KeyError('h')\n"))
        case(f"loop{name}_stop_inside", [loop("l", "[1,2,3]", [echo("b", it, stop_after_if={"expr": "result == 2", "skip_if_stopped": False}), echo("c", "previous_result * 10")], **options), echo("z", "results.l")])
        case(f"loop{name}_stop_inside_skip", [loop("l", "[1,2,3]", [echo("b", it, stop_after_if={"expr": "result == 2", "skip_if_stopped": True}), echo("c", "previous_result * 10")], **options), echo("z", "results.l")])
        case(f"loop{name}_stop_inside_error", [loop("l", "[1,2,3]", [echo("b", it, stop_after_if={"expr": "result == 2", "skip_if_stopped": False, "error_message": "enough"})], **options), echo("z", "results.l")])
        case(f"loop{name}_stop_inside_error_skip_failures", [loop("l", "[1,2,3]", [echo("b", it, stop_after_if={"expr": "result == 2", "skip_if_stopped": False, "error_message": "enough"})], skip_failures=True, **options), echo("z", "results.l")])
        case(f"loop{name}_stop_on_loop", [loop("l", "[1,2,3]", [echo("b", it)], stop_after_if={"expr": "result == 2", "skip_if_stopped": False}, **options), echo("z", "results.l")])
        case(f"loop{name}_stop_on_loop_all_iters", [loop("l", "[1,2,3]", [echo("b", it)], stop_after_if={"expr": "all_iters.length == 2", "skip_if_stopped": False}, **options), echo("z", "results.l")])
        case(f"loop{name}_stop_all", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "result.length == 2", "skip_if_stopped": False}, **options), const("z", 1)])
        case(f"loop{name}_stop_all_skip", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "result.length == 2", "skip_if_stopped": True}, **options), const("z", 1)])
        case(f"loop{name}_stop_all_error", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "result[0] == 1", "skip_if_stopped": False, "error_message": "all done"}, **options), const("z", 1)])
        case(f"loop{name}_stop_all_error_handled", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "true", "skip_if_stopped": False, "error_message": "all done"}, **options), const("z", 1)], failure_module=handler())
        case(f"loop{name}_stop_all_false", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "false", "skip_if_stopped": False}, **options), const("z", 1)])
        case(f"loop{name}_stop_all_throws", [loop("l", "[1,2]", [echo("b", it)], stop_after_all_iters_if={"expr": "nosuch", "skip_if_stopped": False}, **options), const("z", 1)])
        case(f"loop{name}_retry_on_loop", [loop("l", "[1,2]", body, retry={"constant": {"attempts": 1, "seconds": 0}}, **options)])
    case("loop_parallel_same_worker", [loop("l", "[1,2]", body, parallel=True)], same_worker=True)
    case("loop_failure_error_first", [loop("l", "[2]", body), echo("z", "error.message")])
    case("loop_error_in_nested", [loop("l", "[1,2]", [loop("m", "[1,2]", body)])])
    case("loop_error_in_nested_parallel", [loop("l", "[1,2]", [loop("m", "[1,2]", body, parallel=True)], parallel=True)])
    case("loop_error_in_nested_handled", [loop("l", "[1,2]", [loop("m", "[1,2]", body)])], failure_module=handler())
    case("loop_error_in_nested_recovered", [loop("l", "[1,2]", [loop("m", "[1,2]", body)]), const("z", 1)], failure_module=handler(RECOVER))
    case("loop_error_in_nested_parallel_handled", [loop("l", "[1,2]", [loop("m", "[2,2]", body, parallel=True)], parallel=True)], failure_module=handler())


def whiles() -> None:
    count = "def main(i):\n    return i\n"
    index = {"i": js("flow_input.iter.index")}
    stop = {"expr": "result >= 2", "skip_if_stopped": False}
    case("while_stop_on_loop", [while_("w", [step("b", count, index)], stop_after_if=stop)])
    case("while_stop_on_loop_two_steps", [while_("w", [step("b", count, index), echo("c", "previous_result")], stop_after_if=stop)])
    case("while_then", [while_("w", [step("b", count, index, stop_after_if=stop)]), echo("z", "results.w")])
    case("while_stop_skip", [while_("w", [step("b", count, index, stop_after_if={"expr": "result >= 1", "skip_if_stopped": True})]), echo("z", "results.w")])
    case("while_stop_first_step", [while_("w", [step("b", count, index, stop_after_if=stop), echo("c", "previous_result * 10")]), echo("z", "results.w")])
    case("while_stop_error", [while_("w", [step("b", count, index, stop_after_if=stop | {"error_message": "enough"})]), const("z", 1)])
    case("while_value_is_index", [while_("w", [echo("b", "flow_input.iter.value", stop_after_if=stop)])])
    case("while_fails", [while_("w", [step("b", FAIL_IF_TWO, {"x": js("flow_input.iter.index")}), echo("c", "previous_result")])])
    case("while_fails_one_step", [while_("w", [step("b", FAIL_IF_TWO, {"x": js("flow_input.iter.index")})])])
    case("while_fails_handled", [while_("w", [step("b", FAIL_IF_TWO, {"x": js("flow_input.iter.index")}), echo("c", "previous_result")])], failure_module=handler())
    case("while_skip_failures", [while_("w", [step("b", FAIL_IF_TWO, {"x": js("flow_input.iter.index")}), echo("c", "previous_result", stop_after_if={"expr": "result >= 3", "skip_if_stopped": False})], skip_failures=True)])
    case("while_stop_all", [while_("w", [step("b", count, index, stop_after_if=stop)], stop_after_all_iters_if={"expr": "result.length == 3", "skip_if_stopped": False}), const("z", 1)])
    case("while_previous_iteration", [while_("w", [echo("b", "previous_result", stop_after_if={"expr": "true", "skip_if_stopped": False})])], {"k": 1})
    case("while_in_loop", [loop("l", "[1,2]", [while_("w", [step("b", count, index, stop_after_if={"expr": "result >= 1", "skip_if_stopped": False})])])])
    case("while_no_modules", [while_("w", [])])
    case("while_stop_on_loop_error", [while_("w", [step("b", count, index), echo("c", "previous_result")], stop_after_if=stop | {"error_message": "enough"}), const("z", 1)])


def branches() -> None:
    case("branchone_default", [one("b", [("false", [const("c", 1)])], [const("d", 2)])])
    case("branchone_default_empty", [const("a", 5), one("b", [("false", [const("c", 1)])], []), echo("z", "previous_result")])
    case("branchone_default_empty_results", [const("a", 5), one("b", [("false", [const("c", 1)])], []), echo("z", "results.b")])
    case("branchone_default_empty_results_later", [const("a", 5), one("b", [("false", [const("c", 1)])], []), const("m", 0), echo("z", "results.b")])
    case("branchone_default_empty_js_later", [const("a", 5), one("b", [("false", [const("c", 1)])], []), const("m", 0), echo("z", "results.b ?? 'none'")])
    case("branchone_default_empty_first", [one("b", [("false", [const("c", 1)])], []), echo("z", "previous_result")], {"k": 1})
    case("branchone_default_empty_last", [const("a", 5), one("b", [("false", [const("c", 1)])], [])])
    case("branchone_only_empty", [one("b", [("false", [const("c", 1)])], [])], {"k": 1})
    case("branchone_chosen_empty", [const("a", 5), one("b", [("true", [])], [const("d", 2)]), echo("z", "previous_result")])
    case("branchone_no_branches", [one("b", [], [const("d", 2)])])
    case("branchone_throws", [one("b", [("flow_input.a.b.c", [const("c", 1)])], [const("d", 2)])])
    case("branchone_throws_handled", [one("b", [("flow_input.a.b.c", [const("c", 1)])], [const("d", 2)])], failure_module=handler())
    case("branchone_throws_continue", [one("b", [("nosuch", [const("c", 1)])], [const("d", 2)], continue_on_error=True), echo("z", "results.b")])
    case("branchone_throws_later", [const("a", 1), one("b", [("nosuch", [const("c", 1)])], [const("d", 2)])])
    case("branchone_truthy_text", [one("b", [("'x'", [const("c", 1)])], [const("d", 2)])])
    case("branchone_truthy_zero", [one("b", [("0", [const("c", 1)])], [const("d", 2)])])
    case("branchone_undefined", [one("b", [("flow_input.none", [const("c", 1)])], [const("d", 2)])])
    case("branchone_previous_result", [const("a", 5), one("b", [("previous_result == 5", [const("c", 1)])], [const("d", 2)])])
    case("branchone_result_word", [const("a", 5), one("b", [("result == 5", [const("c", 1)])], [const("d", 2)])])
    case("branchone_inner_previous", [const("a", 5), one("b", [("true", [echo("c", "previous_result")])], [])], {"k": 1})
    case("branchone_two_steps", [one("b", [("true", [const("c", 1), echo("d", "previous_result + 1")])], [])])
    case("branchone_error", [one("b", [("true", [boom("c")])], []), const("z", 1)])
    case("branchone_error_handled", [one("b", [("true", [boom("c")])], []), const("z", 1)], failure_module=handler())
    case("branchone_error_recovered", [one("b", [("true", [boom("c")])], []), const("z", 1)], failure_module=handler(RECOVER))
    case("branchone_error_recovered_last", [one("b", [("true", [boom("c")])], [])], failure_module=handler(RECOVER))
    case("branchone_error_continue", [one("b", [("true", [boom("c")])], [], continue_on_error=True), echo("z", "results.b.error.message")])
    case("branchone_error_retry", [one("b", [("true", [step("c", UNTIL, {"until": static(9)})])], [], retry={"constant": {"attempts": 1, "seconds": 0}})])
    case("branchone_stop_inside", [one("b", [("true", [const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": False}), const("d", 2)])], []), const("z", 3)])
    case("branchone_stop_inside_skip", [one("b", [("true", [const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": True}), const("d", 2)])], []), const("z", 3)])
    case("branchone_stop_inside_error", [one("b", [("true", [const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": False, "error_message": "no"})])], []), const("z", 3)])
    case("branchone_stop_on_branch", [one("b", [("true", [const("c", 1)])], [], stop_after_if={"expr": "result == 1", "skip_if_stopped": False}), const("z", 3)])
    case("branchone_nested", [one("b", [("true", [one("c", [("true", [const("d", 1)])], [])])], []), echo("z", "results.d")])
    case("branchone_env_ids", [one("b", [("true", [step("c", "import os\ndef main():\n    e = os.environ\n    return [e['WM_FLOW_STEP_ID'], e['WM_ROOT_JOB_ID'] == e['WM_ROOT_FLOW_JOB_ID'], e['WM_ROOT_FLOW_JOB_ID'] == e['WM_FLOW_JOB_ID']]\n")])], [])])
    for name, parallel in {"": False, "_parallel": True}.items():
        p: Value = {"parallel": parallel}
        case(f"branchall{name}_error", [every("b", [[const("c", 1)], [boom("d")], [const("e", 3)]], **p), const("z", 1)])
        case(f"branchall{name}_error_skip", [every("b", [[const("c", 1)], [boom("d")], [const("e", 3)]], skip=(1,), **p), echo("z", "results.b.length")])
        case(f"branchall{name}_error_skip_last", [every("b", [[const("c", 1)], [boom("d")]], skip=(1,), **p)])
        case(f"branchall{name}_error_first_skip_other", [every("b", [[boom("c")], [const("d", 2)]], skip=(1,), **p)])
        case(f"branchall{name}_two_errors", [every("b", [[boom("c")], [py("d", "raise ValueError('second')")]], **p)])
        case(f"branchall{name}_two_errors_handled", [every("b", [[boom("c")], [py("d", "raise ValueError('second')")]], **p)], failure_module=handler())
        case(f"branchall{name}_error_recovered", [every("b", [[const("c", 1)], [boom("d")]], **p), const("z", 1)], failure_module=handler(RECOVER))
        case(f"branchall{name}_error_continue", [every("b", [[const("c", 1)], [boom("d")]], continue_on_error=True, **p), echo("z", "results.b[0]")])
        case(f"branchall{name}_all_skip", [every("b", [[boom("c")], [boom("d")]], skip=(0, 1), **p), const("z", 1)])
        case(f"branchall{name}_empty", [every("b", [], **p), echo("z", "results.b")])
        case(f"branchall{name}_empty_branch", [every("b", [[], [const("d", 2)]], **p), echo("z", "results.b")], {"k": 1})
        case(f"branchall{name}_one_branch", [every("b", [[const("c", 1)]], **p)])
        case(f"branchall{name}_two_steps", [every("b", [[const("c", 1), echo("d", "previous_result + 1")], [echo("e", "flow_input.k")]], **p)], {"k": 7})
        case(f"branchall{name}_stop_inside", [every("b", [[const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": False}), const("d", 2)], [const("e", 3)]], **p), const("z", 9)])
        case(f"branchall{name}_stop_inside_skip", [every("b", [[const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": True}), const("d", 2)], [const("e", 3)]], **p), const("z", 9)])
        case(f"branchall{name}_stop_inside_error", [every("b", [[const("c", 1, stop_after_if={"expr": "true", "skip_if_stopped": False, "error_message": "no"})], [const("e", 3)]], **p), const("z", 9)])
        case(f"branchall{name}_stop_on_it", [every("b", [[const("c", 1)], [const("e", 3)]], stop_after_if={"expr": "true", "skip_if_stopped": False}, **p), const("z", 9)])
        case(f"branchall{name}_stop_all", [every("b", [[const("c", 1)], [const("e", 3)]], stop_after_all_iters_if={"expr": "result.length == 2", "skip_if_stopped": False}, **p), const("z", 9)])
        case(f"branchall{name}_stop_all_error", [every("b", [[const("c", 1)], [const("e", 3)]], stop_after_all_iters_if={"expr": "result.length == 2", "skip_if_stopped": False, "error_message": "no"}, **p), const("z", 9)])
    case("branchall_same_worker", [every("b", [[const("c", 1)], [const("d", 2)]])], same_worker=True)
    case("branchall_parallel_same_worker", [every("b", [[const("c", 1)], [const("d", 2)]], parallel=True)], same_worker=True)
    case("branchall_parallel_env_ids", [every("b", [[step("c", "import os\ndef main():\n    e = os.environ\n    return [e['WM_FLOW_STEP_ID'], e['WM_ROOT_JOB_ID'] == e['WM_ROOT_FLOW_JOB_ID'], e['WM_ROOT_FLOW_JOB_ID'] == e['WM_FLOW_JOB_ID']]\n")]], parallel=True)])


def failures() -> None:
    case("failure_error_whole", [boom("a")], failure_module=handler())
    case("failure_second_step", [const("a", 1), boom("b"), const("c", 2)], failure_module=handler())
    case("failure_previous_result", [const("a", 1), boom("b")],
         failure_module=step("failure", "def main(p):\n    p['error'].pop('stack', None)\n    return p\n", {"p": js("previous_result")}))
    case("failure_result_of_failed", [const("a", 1), boom("b")],
         failure_module=step("failure", "def main(p):\n    p['error'].pop('stack', None)\n    return p\n", {"p": js("results.b")}))
    case("failure_results_before", [const("a", 1), boom("b")], failure_module=step("failure", ECHO, {"x": js("results.a + 1")}))
    case("failure_fails_too", [boom("a")], failure_module=handler("def main(error):\n    raise KeyError('again')\n"))
    case("failure_expression_throws", [boom("a")], failure_module=handler(inputs={"error": js("nosuch")}))
    case("failure_with_retry", [boom("a")], failure_module=step("failure", UNTIL, {"until": static(1)}, retry={"constant": {"attempts": 2, "seconds": 0}}))
    case("failure_retry_exhausted", [boom("a")], failure_module=step("failure", UNTIL, {"until": static(9)}, retry={"constant": {"attempts": 1, "seconds": 0}}))
    case("failure_returns_none", [boom("a")], failure_module=step("failure", "def main():\n    pass\n"))
    case("failure_recover_false", [boom("a")], failure_module=step("failure", "def main():\n    return {'recover': False}\n"))
    case("failure_recover_text", [boom("a")], failure_module=step("failure", "def main():\n    return {'recover': 'yes'}\n"))
    case("failure_recover_middle", [const("a", 1), boom("b"), const("c", 2)], failure_module=handler(RECOVER))
    case("failure_not_needed", [const("a", 1)], failure_module=handler())
    case("failure_expression_of_step", [echo("a", "flow_input.x.y.z")], failure_module=handler())
    case("failure_started_at", [boom("a")], failure_module=step("failure", "def main(s, j):\n    return [type(s).__name__, len(j)]\n", {"s": js("started_at"), "j": js("flow_job_id")}))
    case("failure_step_id_env", [boom("a")], failure_module=step("failure", "import os\ndef main():\n    return os.environ['WM_FLOW_STEP_ID']\n"))
    case("failure_step_id_env_in_loop", [loop("l", "[1]", [boom("a")])], failure_module=step("failure", "import os\ndef main():\n    return os.environ['WM_FLOW_STEP_ID']\n"))
    case("failure_step_id_env_in_branch", [one("b", [("true", [boom("a")])], [])], failure_module=step("failure", "import os\ndef main():\n    return os.environ['WM_FLOW_STEP_ID']\n"))
    case("failure_in_loop_sees_iter", [loop("l", "[5]", [boom("a")])], failure_module=step("failure", ECHO, {"x": js("flow_input.iter.value")}))
    case("failure_after_retry", [step("a", UNTIL, {"until": static(9)}, retry={"constant": {"attempts": 1, "seconds": 0}})], failure_module=handler())
    case("failure_of_timeout", [py("a", "import time\ntime.sleep(20)", timeout=static(1))], failure_module=handler(RECOVER))
    case("failure_identity", [boom("a")], failure_module={"id": "failure", "value": {"type": "identity"}})
    case("failure_mocked", [boom("a")], failure_module=handler(mock={"enabled": True, "return_value": {"recover": True}}))
    case("failure_skip_if", [boom("a")], failure_module=handler(skip_if={"expr": "true"}))
    case("failure_stop_error", [const("a", 1, stop_after_if={"expr": "true", "skip_if_stopped": False, "error_message": "no"}), const("b", 2)], failure_module=handler())
    case("failure_stop_error_recovered", [const("a", 1, stop_after_if={"expr": "true", "skip_if_stopped": False, "error_message": "no"}), const("b", 2)], failure_module=handler(RECOVER))
    case("failure_continue_then_fail", [boom("a", continue_on_error=True), boom("b")], failure_module=handler())
    case("failure_exit_code", [py("a", "import os\nos._exit(5)")], failure_module=handler())
    case("failure_killed", [py("a", "import os\nos.kill(os.getpid(), 9)")], failure_module=handler())


def stops() -> None:
    def stop(expr: str, **more: Any) -> Value:
        return {"expr": expr, "skip_if_stopped": False} | more

    case("stop_true", [const("a", 1, stop_after_if=stop("true")), const("b", 2)])
    case("stop_false", [const("a", 1, stop_after_if=stop("false")), const("b", 2)])
    case("stop_result", [const("a", 1, stop_after_if=stop("result == 1")), const("b", 2)])
    case("stop_skip", [const("a", 1, stop_after_if=stop("result == 1", skip_if_stopped=True)), const("b", 2)])
    case("stop_last", [const("a", 1), const("b", 2, stop_after_if=stop("true"))])
    case("stop_last_error", [const("a", 1, stop_after_if=stop("true", error_message="bad"))])
    case("stop_error", [const("a", 1, stop_after_if=stop("true", error_message="bad")), const("b", 2)])
    case("stop_error_empty", [const("a", 1, stop_after_if=stop("result == 1", error_message="")), const("b", 2)])
    case("stop_error_include", [const("a", {"k": 1}, stop_after_if=stop("true", error_message="bad", error_include_result=True)), const("b", 2)])
    case("stop_error_and_skip", [const("a", 1, stop_after_if=stop("true", error_message="bad", skip_if_stopped=True)), const("b", 2)])
    case("stop_error_continue", [const("a", 1, stop_after_if=stop("true", error_message="bad"), continue_on_error=True), const("b", 2)])
    case("stop_flow_input", [const("a", 1, stop_after_if=stop("flow_input.s")), const("b", 2)], {"s": True})
    case("stop_previous_result", [const("a", 1, stop_after_if=stop("previous_result == 1")), const("b", 2)])
    case("stop_results", [const("a", 1), const("b", 2, stop_after_if=stop("results.a == 1")), const("c", 3)])
    case("stop_results_self", [const("a", 1, stop_after_if=stop("results.a == 1")), const("b", 2)])
    case("stop_env", [const("a", 1, stop_after_if=stop("flow_env.S")), const("b", 2)], flow_env={"S": True})
    case("stop_throws", [const("a", 1, stop_after_if=stop("nosuch")), const("b", 2)])
    case("stop_throws_handled", [const("a", 1, stop_after_if=stop("nosuch")), const("b", 2)], failure_module=handler(inputs={"error": js("previous_result")}))
    case("stop_throws_with_retry", [const("a", 1, stop_after_if=stop("nosuch"), retry={"constant": {"attempts": 1, "seconds": 0}}), const("b", 2)])
    case("stop_failed_step", [boom("a", stop_after_if=stop("true")), const("b", 2)])
    case("stop_failed_step_continue", [boom("a", stop_after_if=stop("true"), continue_on_error=True), const("b", 2)])
    case("stop_mocked", [boom("a", stop_after_if=stop("result == 4"), mock={"enabled": True, "return_value": 4}), const("b", 2)])
    case("stop_skipped_step", [const("a", 1), const("b", 2, skip_if={"expr": "true"}, stop_after_if=stop("true")), const("c", 3)])
    case("stop_identity", [const("a", 1), identity("i", stop_after_if=stop("result == 1")), const("c", 3)])
    case("stop_statement", [const("a", 1, stop_after_if=stop("return true")), const("b", 2)])
    case("stop_in_nested_branch_in_loop", [loop("l", "[1,2,3]", [one("b", [("flow_input.iter.value == 2", [const("c", "two", stop_after_if=stop("true"))])], [const("d", "other")]), echo("e", "previous_result")]), echo("z", "results.l")])
    case("stop_two_levels", [one("b", [("true", [one("c", [("true", [const("d", 1, stop_after_if=stop("true"))])], []), const("e", 2)])], []), const("z", 3)])
    case("stop_with_retry", [const("a", 1, stop_after_if=stop("true", error_message="bad"), retry={"constant": {"attempts": 2, "seconds": 0}}), const("b", 2)])


def retries() -> None:
    def retry(constant: int = 0, exponential: Value | None = None, **more: Any) -> Value:
        made: Value = {"constant": {"attempts": constant, "seconds": 0}} if constant else {}
        return made | ({"exponential": exponential} if exponential else {}) | more

    case("retry_exhausted", [step("a", UNTIL, {"until": static(9)}, retry=retry(2))])
    case("retry_then_next", [step("a", UNTIL, {"until": static(1)}, retry=retry(2)), echo("z", "results.a")])
    case("retry_exponential", [step("a", UNTIL, {"until": static(1)}, retry=retry(exponential={"attempts": 2, "multiplier": 1, "seconds": 1}))])
    case("retry_exponential_zero", [step("a", UNTIL, {"until": static(2)}, retry=retry(exponential={"attempts": 3, "multiplier": 1, "seconds": 0}))])
    case("retry_both", [step("a", UNTIL, {"until": static(2)}, retry=retry(1, {"attempts": 2, "multiplier": 1, "seconds": 0}))])
    case("retry_both_exhausted", [step("a", UNTIL, {"until": static(9)}, retry=retry(1, {"attempts": 1, "multiplier": 1, "seconds": 0}))])
    case("retry_same_arguments", [echo("p", "7"), step("a", UNTIL, {"until": static(1), "x": js("results.p")}, retry=retry(1))])
    case("retry_if_true", [step("a", UNTIL, {"until": static(1)}, retry=retry(2, retry_if={"expr": "error.name == 'ValueError'"}))])
    case("retry_if_false", [step("a", UNTIL, {"until": static(1)}, retry=retry(2, retry_if={"expr": "error.name == 'Other'"}))])
    case("retry_if_result", [step("a", UNTIL, {"until": static(9)}, retry=retry(5, retry_if={"expr": "result.error.message == 'try 0'"}))])
    case("retry_if_throws", [step("a", UNTIL, {"until": static(1)}, retry=retry(2, retry_if={"expr": "nosuch"}))])
    case("retry_if_flow_input", [step("a", UNTIL, {"until": static(1)}, retry=retry(2, retry_if={"expr": "flow_input.again"}))], {"again": True})
    case("retry_continue", [step("a", UNTIL, {"until": static(9)}, retry=retry(1), continue_on_error=True), echo("z", "results.a.error.message")])
    case("retry_continue_next_retry", [step("a", UNTIL, {"until": static(9)}, retry=retry(2), continue_on_error=True), step("b", UNTIL, {"until": static(1)}, retry=retry(2))])
    case("retry_two_steps", [step("a", UNTIL, {"until": static(1)}, retry=retry(1)), step("b", UNTIL, {"until": static(1)}, retry=retry(1))])
    case("retry_expression_throws", [step("a", "def main(x=3):\n    return x\n", {"x": js("flow_input.q.r.s")}, retry=retry(1))])
    case("retry_empty", [step("a", UNTIL, {"until": static(1)}, retry={})])
    case("retry_zero", [step("a", UNTIL, {"until": static(1)}, retry={"constant": {"attempts": 0, "seconds": 0}})])
    case("retry_seconds", [step("a", UNTIL, {"until": static(1)}, retry={"constant": {"attempts": 1, "seconds": 1}})])
    case("retry_exit_code", [py("a", "import os\nos._exit(3)", retry=retry(1))])
    case("retry_previous_result", [const("p", 5), step("a", UNTIL, {"until": static(1), "x": js("previous_result")}, retry=retry(1))])
    case("retry_skip_if_previous", [const("p", 5), step("a", UNTIL, {"until": static(1)}, retry=retry(1), skip_if={"expr": "previous_result.error"})])
    case("retry_job_ids", [step("a", "import os\ndef main():\n    p = '/tmp/fid_j' + os.environ['WM_FLOW_JOB_ID']\n    old = open(p).read() if os.path.exists(p) else ''\n    open(p, 'w').write(os.environ['WM_JOB_ID'])\n    if not old:\n        raise ValueError('first')\n    return old == os.environ['WM_JOB_ID']\n", retry=retry(1))])


def skips() -> None:
    case("skip_first", [const("a", 1, skip_if={"expr": "true"}), echo("z", "previous_result")], {"k": 2})
    case("skip_last", [const("a", 1), const("b", 2, skip_if={"expr": "true"})])
    case("skip_only", [const("a", 1, skip_if={"expr": "true"})], {"k": 2})
    case("skip_false", [const("a", 1), const("b", 2, skip_if={"expr": "false"})])
    case("skip_results", [const("a", 1), const("b", 2, skip_if={"expr": "results.a == 1"}), echo("z", "results.b")])
    case("skip_previous_result", [const("a", 1), const("b", 2, skip_if={"expr": "previous_result == 1"})])
    case("skip_throws", [const("a", 1), const("b", 2, skip_if={"expr": "nosuch"}), const("c", 3)])
    case("skip_throws_first", [const("a", 1, skip_if={"expr": "nosuch"})])
    case("skip_throws_handled", [const("a", 1), const("b", 2, skip_if={"expr": "nosuch"})], failure_module=handler())
    case("skip_throws_first_handled", [const("b", 2, skip_if={"expr": "nosuch"})], failure_module=handler())
    case("skip_bad_transform", [const("a", 1), step("b", ECHO, {"x": js("flow_input.q.r.s")}, skip_if={"expr": "true"})])
    case("skip_branch", [const("a", 1), one("b", [("true", [boom("c")])], [], skip_if={"expr": "true"}), echo("z", "results.b")])
    case("skip_env", [const("a", 1), const("b", 2, skip_if={"expr": "flow_env.S"})], flow_env={"S": 1})
    case("skip_expr_true", [const("a", 1)], {"s": True}, skip_expr="flow_input.s")
    case("skip_expr_false", [const("a", 1)], {"s": False}, skip_expr="flow_input.s")
    case("skip_expr_throws", [const("a", 1)], skip_expr="nosuch")
    case("skip_expr_two_steps", [const("a", 1), const("b", 2)], skip_expr="true")
    case("skip_all", [const("a", 1, skip_if={"expr": "true"}), const("b", 2, skip_if={"expr": "true"})], {"k": 2})
    case("skip_suspended", [const("a", 1, skip_if={"expr": "true"}, suspend={"required_events": 1, "timeout": 1}), const("b", 2)])


def continues() -> None:
    case("continue_error", [boom("a", continue_on_error=True), echo("z", "results.a.error.name")])
    case("continue_error_path", [boom("a", continue_on_error=True), const("m", 1), echo("z", "results.a.error.extra.code")])
    case("continue_error_whole", [boom("a", continue_on_error=True), step("z", "def main(x):\n    x['error'].pop('stack')\n    return x\n", {"x": js("results.a")})])
    case("continue_error_previous", [boom("a", continue_on_error=True), echo("z", "previous_result.error.message")])
    case("continue_error_word", [boom("a", continue_on_error=True), echo("z", "error.message")])
    case("continue_last", [const("a", 1), boom("b", continue_on_error=True)])
    case("continue_only", [boom("a", continue_on_error=True)])
    case("continue_expression", [echo("a", "flow_input.q.r.s", continue_on_error=True), echo("z", "results.a.error.name")])
    case("continue_two", [boom("a", continue_on_error=True), boom("b", continue_on_error=True), echo("z", "results.a.error.step_id + results.b.error.step_id")])
    case("continue_handled", [boom("a", continue_on_error=True), const("z", 1)], failure_module=handler())
    case("continue_last_handled", [boom("a", continue_on_error=True)], failure_module=handler())
    case("continue_last_in_branch", [one("b", [("true", [boom("c", continue_on_error=True)])], []), echo("z", "results.b.error.message")])
    case("continue_skip_after", [boom("a", continue_on_error=True), const("b", 2, skip_if={"expr": "results.a.error"}), echo("z", "results.b.error.name")])
    case("continue_iterator_throws", [const("a", 1), loop("l", "nosuch", [const("b", 1)], continue_on_error=True), const("z", 1)])
    case("continue_iterator_throws_first", [loop("l", "nosuch", [const("b", 1)], continue_on_error=True), const("z", 1)])


def asked() -> None:
    """Ways of asking whether a step ran: c has when x is 1, e has when it is 2."""
    expressions = {
        "in": '("c" in results) ? results.c : null',
        "in_returned": 'return ("c" in results) ? results.c : null;',
        "not_in": "!('c' in results)",
        "nullish": "results.c ?? results.e ?? null",
        "optional": "results?.c?.text ?? 'none'",
        "optional_length": "results?.c?.length",
        "has_own_call": "Object.prototype.hasOwnProperty.call(results, 'c')",
        "has_own": "Object.hasOwn(results, 'c')",
        "has_own_method": "results.hasOwnProperty('c')",
        "reflect": "Reflect.has(results, 'c')",
        "spread": "({...results}).c",
        "spread_list": "[...results]",
        "assign": "Object.assign({}, results).c",
        "keys": "Object.keys(results)",
        "entries": "Object.entries(results).length",
        "json": "JSON.stringify(results)",
        "whole": "results",
        "listed": "[results]",
        "for_in": "const found = []; for (const k in results) found.push(k); return found",
        "typeof": "typeof results.c",
        "typeof_undefined": "typeof results.c !== 'undefined'",
        "undefined": "results.c === undefined",
        "null": "results.c === null",
        "loosely_null": "results.c == null",
        "destructured": "const {c} = results; return c ? 'ran' : 'not'",
        "destructured_default": "const {c = 'none'} = results; return c",
        "destructured_length": "const {c} = results; return [c.length]",
        "destructured_awaited": "const {c} = results; return (await c)?.length ?? 'none'",
        "alias": "const r = results; return [r.c]",
        "single_quotes": "results['c']",
        "single_quotes_nullish": "results['c'] ?? 'none'",
        "single_quotes_length": "results['c'].length",
        "single_quotes_listed": "[results['c']]",
        "double_quotes_nullish": 'results["c"] ?? "none"',
        "optional_quotes": "results?.['c']?.length",
        "awaited_quotes": "(await results['c'])?.length ?? 'none'",
        "computed": "results[flow_input.k] ?? 'none'",
        "in_flow_input": '("x" in flow_input) && !("y" in flow_input)',
    }
    for name, expression in expressions.items():
        for x in (1, 2):
            branches = one("b", [("results.a == 1", [const("c", "RESULT_ONE")])], [const("e", "DEFAULT")])
            case(f"asked_{name}_{x}", [echo("a", "flow_input.x"), branches, echo("d", f"{expression}")], {"x": x, "k": "c"})


def skipped_loops() -> None:
    """A loop whose skip_if reads what came before it."""
    fix = "def main(i):\n    return {'fixed': i >= 2, 'i': i}\n"
    stop = {"expr": "result.fixed === true", "skip_if_stopped": False}
    conditions = {
        "results": "results.open.needed !== true",
        "brackets": 'results["open"].needed !== true',
        "single_quotes": "(await results['open']).needed !== true",
        "previous": "previous_result.needed !== true",
        "result": "result.needed !== true",
        "input": "flow_input.need === false",
        "earlier": "results.first.needed !== true",
    }
    for name, condition in conditions.items():
        for need in (True, False):
            for kind, parallel in (("while", False), ("for", False), ("for", True)):
                body = [step("fix", fix, {"i": js("flow_input.iter.index")}, stop_after_if=stop)]
                made = while_("poll", body) if kind == "while" else loop("poll", "[10, 11, 12, 13]", body, parallel=parallel)
                opened = py("open", "return {'needed': x}", )
                opened["value"]["input_transforms"] = {"x": js("flow_input.need")}
                first = opened | {"id": "first"}
                case(f"skip_loop_{kind}{'_parallel' if parallel else ''}_{name}_{need}",
                     [first, opened, made | {"skip_if": {"expr": condition}}, echo("z", "results.poll")], {"need": need})
    for need in (True, False):
        body = [step("fix", fix, {"i": js("flow_input.iter.index")}, stop_after_if=stop)]
        case(f"skip_loop_first_{need}", [while_("poll", body) | {"skip_if": {"expr": "previous_result.need !== true"}},
                                         echo("z", "results.poll")], {"need": need})


def suspends() -> None:
    case("suspend_nobody", [const("a", 1, suspend={"timeout": 30}), const("z", 2)])
    case("suspend_in_failure_module", [boom("a")], failure_module=handler(suspend={"required_events": 1, "timeout": 30}))
    def ask(answers: list[Any], id: str = "a", **suspend: Any) -> Value:
        return step(id, APPROVE, {"answers": static(answers)}, suspend={"required_events": 1, "timeout": 20} | suspend)

    yes, no = "resume", "cancel"
    case("suspend_resume_payload", [ask([(yes, {"k": 1})]), echo("z", "resume")])
    case("suspend_resume_path", [ask([(yes, {"k": 1})]), echo("z", "resume.k + 1")])
    case("suspend_resumes", [ask([(yes, 1), (yes, 2)], required_events=2), echo("z", "[resumes, resume, approvers]")])
    case("suspend_more_than_needed", [ask([(yes, 1), (yes, 2)]), echo("z", "resumes")])
    case("suspend_previous_result", [ask([(yes, 1)]), echo("z", "previous_result")])
    case("suspend_results", [ask([(yes, 1)]), echo("z", "results.a")])
    case("suspend_disapproved", [ask([(no, {})]), const("z", 1)])
    case("suspend_disapproved_handled", [ask([(no, {})]), const("z", 1)], failure_module=handler())
    case("suspend_disapproved_continue", [ask([(no, {"why": 1})], continue_on_disapprove_timeout=True), echo("z", "[resume, resumes]")])
    case("suspend_timeout", [const("a", 1, suspend={"required_events": 1, "timeout": 1}), const("z", 1)])
    case("suspend_timeout_handled", [const("a", 1, suspend={"required_events": 1, "timeout": 1}), const("z", 1)], failure_module=handler())
    case("suspend_timeout_recovered", [const("a", 1, suspend={"required_events": 1, "timeout": 1}), const("z", 1)], failure_module=handler(RECOVER))
    case("suspend_timeout_continue", [const("a", 1, suspend={"required_events": 1, "timeout": 1, "continue_on_disapprove_timeout": True}), echo("z", "[resume, previous_result]")])
    case("suspend_timeout_partial", [ask([(yes, 1)], required_events=2, timeout=1), const("z", 1)])
    case("suspend_last", [ask([(yes, 1)])])
    case("suspend_last_timeout", [const("a", 1, suspend={"required_events": 1, "timeout": 1})])
    case("suspend_zero_events", [const("a", 1, suspend={"required_events": 0}), echo("z", "previous_result")])
    case("suspend_no_events", [const("a", 1, suspend={}), echo("z", "previous_result")])
    case("suspend_failed_step", [boom("a", suspend={"required_events": 1, "timeout": 1}), const("z", 1)])
    case("suspend_failed_step_continue", [boom("a", suspend={"required_events": 1, "timeout": 1}, continue_on_error=True), const("z", 1)])
    case("suspend_in_loop", [loop("l", "[1,2]", [ask([(yes, 5)]), echo("b", "resume + flow_input.iter.value")])])
    case("suspend_in_branch", [one("b", [("true", [ask([(yes, 5)]), echo("c", "resume")])], []), echo("z", "results.b")])
    case("suspend_twice", [ask([(yes, 5)]), ask([(yes, 6)], "b"), echo("z", "resume")])
    case("suspend_resume_in_condition", [ask([(yes, {"go": True})]), one("b", [("resume.go", [const("c", 1)])], [const("d", 2)])])
    case("suspend_resume_in_skip_if", [ask([(yes, {"go": True})]), const("c", 1, skip_if={"expr": "resume.go"})])
    case("suspend_resume_in_iterator", [ask([(yes, [1, 2])]), loop("l", "resume", [echo("c", "flow_input.iter.value")])])
    case("suspend_then_bad_iterator", [const("a", 1, suspend={"required_events": 1, "timeout": 1, "continue_on_disapprove_timeout": True}), loop("l", "5", [const("c", 1)])])
    case("suspend_then_step_fails", [ask([(yes, 1)]), boom("b"), const("z", 1)], failure_module=handler())
    case("suspend_timeout_next_has_retry", [const("a", 1, suspend={"required_events": 1, "timeout": 1}), const("z", 1, retry={"constant": {"attempts": 1, "seconds": 0}})])
    case("suspend_timeout_next_continues", [const("a", 1, suspend={"required_events": 1, "timeout": 1}), const("b", 1, continue_on_error=True), echo("z", "results.b.error.name")])


def others() -> None:
    case("empty_flow", [], {"k": 1})
    case("empty_flow_no_args", [])
    case("identity_first", [identity("i")], {"k": 1})
    case("identity_twice", [const("a", 1), identity("i"), identity("j")])
    case("identity_after_loop", [loop("l", "[1,2]", [echo("b", "flow_input.iter.value")]), identity("i")])
    case("mock_disabled", [const("a", 1, mock={"enabled": False, "return_value": 2})])
    case("mock_no_value", [boom("a", mock={"enabled": True}), echo("z", "results.a")])
    case("mock_last", [boom("a", mock={"enabled": True, "return_value": {"k": 1}})])
    case("mock_branch", [one("b", [("true", [boom("c")])], [], mock={"enabled": True, "return_value": 3})])
    case("mock_and_skip", [const("a", 1), boom("b", mock={"enabled": True, "return_value": 3}, skip_if={"expr": "true"}), echo("z", "results.b")])
    case("sleep_before_next", [const("a", 1, sleep=static(1)), echo("z", "previous_result")])
    case("sleep_expression", [const("a", 1, sleep=js("flow_input.s")), echo("z", "previous_result")], {"s": 1})
    case("sleep_fraction", [const("a", 1, sleep=static(0.5)), echo("z", "previous_result")])
    case("sleep_last", [const("a", 1, sleep=static(1))])
    case("sleep_text", [const("a", 1, sleep=static("x")), echo("z", "previous_result")])
    case("sleep_negative", [const("a", 1, sleep=static(-1)), echo("z", "previous_result")])
    case("sleep_throws", [const("a", 1, sleep=js("nosuch")), echo("z", "previous_result")])
    case("sleep_null", [const("a", 1, sleep=static(None)), echo("z", "previous_result")])
    case("sleep_result", [const("a", 1, sleep=js("result")), echo("z", "previous_result")])
    case("early_return", [const("a", 1), const("b", 2)], early_return="a")
    case("same_worker_loop", [loop("l", "[1,2]", [step("b", "def main(x):\n    open('shared/f', 'a').write('x')\n    return open('shared/f').read()\n", {"x": js("flow_input.iter.value")})])], same_worker=True)
    case("same_worker_exists", [py("a", "import os\nreturn os.path.isdir('./shared')")], same_worker=True)
    case("same_worker_not", [py("a", "import os\nreturn os.path.exists('./shared')")])
    case("same_worker_env", [py("a", "import os\nos.environ['K'] = '1'"), py("b", "import os\nreturn os.environ.get('K')")], same_worker=True)
    case("env_empty_ones", [py("a", "import os\nreturn {k: os.environ.get(k) for k in ('WM_SCHEDULE_PATH', 'WM_RUNNABLE_ID', 'WM_TESTED_RUNNABLE', 'WM_FLOW_PATH', 'WM_JOB_PATH', 'WM_END_USER_EMAIL')}")])
    case("env_names", [py("a", "import os\nreturn sorted(k for k in os.environ if k.startswith('WM_'))")])
    case("env_state_path", [py("a", "import os\nreturn os.environ['WM_STATE_PATH']")])
    case("env_state_path_in_loop", [loop("l", "[1]", [py("a", "import os\nreturn [os.environ['WM_STATE_PATH'], os.environ['WM_JOB_PATH'], os.environ['WM_FLOW_PATH']]")])])
    case("env_paths_in_branch", [one("b", [("true", [py("a", "import os\nreturn [os.environ['WM_STATE_PATH'], os.environ['WM_JOB_PATH'], os.environ['WM_FLOW_PATH']]")])], [])])
    case("env_object_path", [py("a", "import os, re\nreturn re.sub(r'[0-9]{10,}', 'T', os.environ['WM_OBJECT_PATH'])")])
    case("env_scheduled_for", [py("a", "import os, re\nreturn re.sub(r'[0-9]', '0', os.environ['WM_SCHEDULED_FOR'])")])
    case("env_module_file", [py("a", "import os\nreturn os.path.relpath(__file__)")])
    case("env_module_file_in_branch", [one("b", [("true", [py("a", "import os\nreturn os.path.relpath(__file__)")])], [])])
    case("env_foreign", [py("a", "import os\nreturn [k for k in os.environ if k in ('USER', 'LANG', 'PYTHONDONTWRITEBYTECODE', 'VIRTUAL_ENV', 'MPLBACKEND')]")])
    case("digit_id", [const("1a", 5), echo("z", "previous_result")])
    case("keyword_id", [const("class", 5), echo("z", "results.class")])
    case("dash_id", [const("a-b", 5), echo("z", 'results["a-b"]')])
    case("upper_id", [const("A", 5), echo("z", "results.A")])
    case("big_argument", [py("a", "return ['y' * 100] * 5000"), step("b", "def main(x):\n    return [len(x), x[-1][:3]]\n", {"x": js("results.a")})])
    case("big_js", [py("a", "return list(range(20000))"), echo("z", "results.a.reduce((p, q) => p + q, 0)")])
    case("delete_after_use", [const("a", 1, delete_after_use=True), echo("z", "results.a")])
    case("pass_flow_input_directly", [step("a", "def main(k=0, x=None):\n    return [k, x]\n", {"x": static(1)}, pass_flow_input_directly=True)], {"k": 3})
    case("concurrent_limit_ignored", [const("a", 1)], concurrent_limit=1, concurrency_time_window_s=1)
    case("args_null", [echo("z", "flow_input.k")], {"k": None})
    case("args_special_names", [echo("z", "flow_input['a-b']")], {"a-b": 1})


def normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items() if key != "stack"}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return normal_text(value) if isinstance(value, str) else value


def normal_text(text: str) -> str:
    """Job ids become UUID; of quoted log lines the last one stays, since the others name places of one machine."""
    text = UUID.sub("UUID", text)
    head, quoted, lines = text.partition("last log lines:\n")
    return f"{head}{quoted}… {lines.splitlines()[-1] if lines else ''}" if quoted else text


class Server:
    def __init__(self) -> None:
        env = os.environ
        self.base = f"{env['FLEXCORE_LIVE_WINDMILL_URL']}/api/w/{env['FLEXCORE_LIVE_WINDMILL_WORKSPACE']}"
        self.token = env["FLEXCORE_LIVE_WINDMILL_TOKEN"]

    def call(self, path: str, body: Any = None) -> str:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data, headers), timeout=60) as answer:
            return str(answer.read().decode())

    def answer(self, case: Value) -> Value:
        import time

        job = self.call("/jobs/run/preview_flow", {"value": case["value"], "args": case["args"], "path": ""}).strip('"')
        deadline = time.time() + 90
        while time.time() < deadline:
            done = json.loads(self.call(f"/jobs_u/completed/get_result_maybe/{job}"))
            if done["completed"]:
                # A skipped flow is no success by get_result_maybe, and one by the job itself: the job counts.
                ended = json.loads(self.call(f"/jobs_u/completed/get/{job}"))
                return {"success": ended["success"], "result": normal(done["result"])}
            time.sleep(0.2)
        self.call(f"/jobs_u/queue/cancel/{job}", {"reason": "no answer"})
        return {"success": None, "result": "no answer within 90 s"}


def main(names: list[str]) -> None:
    define()
    known = case_files.read_cases()
    server = Server()

    def ask(name: str) -> None:
        try:
            known[name] = CASES[name] | {"expected": server.answer(CASES[name])}
        except Exception as error:
            body = getattr(error, "read", lambda: b"")()[:300]
            print(f"{name}: {error} {body!r}", file=sys.stderr)

    chosen = [name for name in CASES if not names or any(name.startswith(given) for given in names)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, chosen))
    case_files.write_cases(known)
    print(f"{len(chosen)} asked, {len(known)} cases", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
