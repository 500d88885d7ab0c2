"""What Meltano says of a project, asked through its own services, against what its command line does with the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, FlexcoreError, InvalidInput, MissingSetting, NotFound
from f.flexcore.lib.meltano import (
    inspection,
    installation,
)
from f.flexcore.lib.meltano.inspection import Inspector, Name, read_dotenv
from f.flexcore.lib.meltano.installation import base_environment, meltano_command, meltano_python
from f.flexcore.lib.meltano.project_file import read_project
from f.flexcore.lib.meltano.resolved_project import Plugin, Project, check_plugin

HERE = Path(__file__).parent
TAP, TARGET = ("extractors", "tap-a"), ("loaders", "target-a")

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    shutil.copy(HERE / "dump_plugin.py", place)
    return place


def write(root: Path, text: str, name: str = "meltano.yml") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def ask(
    root: Path, *names: Name, env: Mapping[str, str] | None = None, environment: str = ""
) -> tuple[Project, list[Plugin]]:
    """The project and the plugins of one block set."""
    seen = {**base_environment(), **(env or {})}
    with Inspector(root, read_project(root).files) as inspector:
        chosen, plugins = inspector.definitions(seen, environment, names)
        project, (found,) = inspector.values(seen, chosen, [names], plugins)
    return project, found


def meltano(root: Path, *arguments: str, **env: str) -> str:
    """What Meltano's command line prints, with a system folder of its own."""
    own = {
        "MELTANO_SYS_DIR_ROOT": str(root.parent / "system"),
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    done = subprocess.run(
        [str(meltano_command()), "--log-level=error", *arguments],
        env={**base_environment(), **own, **env},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def config_of(plugin: Plugin) -> dict[str, Any]:
    """What Meltano writes into a plugin's configuration file."""
    return {**plugin.config, **(plugin.mapping_config.value or {})}


BLOCKS = """
project_id: every-level
default_environment: dev
include_paths: [parts/*.yml]
env: {P_LITERAL: project, P_FROM_WORKER: $WORKER}
environments:
- name: dev
  env: {E_FROM_WORKER: "${WORKER}-e", E_FROM_PROJECT: $P_LITERAL}
  state_id_suffix: s-$WORKER
  config:
    plugins:
      extractors:
      - name: tap-a
        config: {of_environment: $E_FROM_PROJECT, nested: {a: 2}, added: [1, $WORKER]}
        env: {X_FROM_PLUGIN: $T_LITERAL}
      - name: tap-parent
        config: {of_parent: parents-environment}
      loaders:
      - {name: target-a, config: {of_environment: "${E_FROM_WORKER}"}}
"""
PLUGINS = """
plugins:
  extractors:
  - name: tap-parent
    namespace: tap_parent
    executable: ./dump_plugin.py
    capabilities: [state]
    settings:
    - {name: of_worker, aliases: [by_alias]}
    - {name: of_dotenv, kind: password}
    - {name: of_environment}
    - {name: of_parent}
    - {name: of_plugin_env}
    - {name: number, kind: integer, value: 3}
    - {name: day, kind: date_iso8601}
    - {name: switched, kind: boolean, value: true}
    - {name: nested, kind: object}
    - {name: files, kind: array}
    - {name: by_default, value: $WORKER/default}
    - {name: set_for_parent}
    config: {of_parent: parents, files: [{path: $WORKER}, {path: "a\\\\$WORKER"}], nested: {a: 1, b: {c: $WORKER}}}
  - name: tap-a
    inherit_from: tap-parent
    env: {T_LITERAL: tap}
    select: ["$WORKER.*"]
    config:
      of_worker: $WORKER
      of_dotenv: $DOT_CHAIN
      of_plugin_env: $T_LITERAL
      day: 2026-01-02
      "nested.d": 4
      extra.dotted: x
  mappers:
  - name: map-a
    namespace: map_a
    executable: ./dump_plugin.py
    settings: [{name: mode, value: m}]
    mappings:
    - {name: hide, config: {stream_maps: {people: {email: __NULL__}}, salts: [{hash_salt: $DOT_CHAIN}], of: $P_LITERAL}}
"""
LOADERS = """
plugins:
  loaders:
  - name: target-a
    namespace: target_a
    executable: ./dump_plugin.py
    settings:
    - {name: of_tap, value: $MELTANO_EXTRACT__LOAD_SCHEMA}
    - {name: by_tap, value: $TAP_A_OF_WORKER}
    - {name: of_environment}
    - {name: mapped, value: $MAP_A_MODE}
"""
DOTENV = "DOT=copper # no part of it\nDOT_CHAIN=\"${DOT}-${WORKER}\"\nTAP_PARENT_SET_FOR_PARENT='for # parent'\n"


def test_every_plugin_of_a_run_has_the_values_that_it_really_gets(root: Path, tmp_path: Path) -> None:
    write(root, BLOCKS)
    write(root, PLUGINS, "parts/a.yml")
    write(root, LOADERS, "parts/b.yml")
    write(root, DOTENV, ".env")
    env = {"WORKER": "worker", "TAP_A_NUMBER": "7", "TARGET_A_MAPPED": "no", "DUMPS": str(tmp_path)}
    project, (tap, mapper, target) = ask(root, TAP, ("mappings", "hide"), TARGET, env=env)
    assert project.environment == "dev" and project.state_id_suffix == "s-worker"
    meltano(root, "--environment=dev", "run", "--no-install", "--state-id-suffix=x", "tap-a", "hide", "target-a", **env)
    got = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("tap", "mapper", "target")}
    assert config_of(tap) == got["tap"]["config"]
    assert config_of(mapper) == got["mapper"]["config"]
    assert config_of(target) == got["target"]["config"]
    for plugin, name in ((tap, "tap"), (mapper, "mapper"), (target, "target")):
        assert plugin.env.value and plugin.env.value.items() <= got[name]["env"].items()
    # What of it is worth a word: the ways in which a value came about.
    sources = {
        name: tap.values[name].source for name in ("number", "of_environment", "of_worker", "of_parent", "switched")
    }
    assert sources == {
        "number": "env",
        "of_environment": "meltano_environment",
        "of_worker": "meltano_yml",
        "of_parent": "inherited",
        "switched": "default",
    }
    assert tap.values["of_parent"].value == "parents-environment"
    assert tap.values["set_for_parent"].value == "for # parent"
    assert tap.values["_select"].value == ["worker.*"]
    assert mapper.mapping_config.value["salts"] == [{"hash_salt": "copper-worker"}]
    for plugin in (tap, mapper, target):
        check_plugin(plugin, "dev")


LOCK = {
    "plugin_type": "extractors",
    "name": "tap-x",
    "namespace": "tap_x",
    "variant": "acme",
    "label": "X",
    "pip_url": "acme-x==1",
    "executable": "tap-acme",
    "capabilities": ["catalog"],
    "settings": [{"name": "path"}, {"name": "token", "sensitive": True}, {"name": "start", "value": "2020"}],
    "settings_group_validation": [["path"]],
}
HEIRS = """
environments:
- name: dev
  config: {plugins: {extractors: [{name: tap-x, config: {start: env-x}}, {name: tap-heir, config: {token: env-heir}}]}}
plugins:
  extractors:
  - {name: tap-x, variant: acme, config: {path: p, start: own-x}}
  - {name: tap-heir, inherit_from: tap-x, config: {start: own-heir}}
  - {name: tap-other, inherit_from: tap-heir, pip_url: "acme-x==$VERSION", executable: tap-two, config: {path: q}}
  - {name: tap-locked, inherit_from: tap-y, variant: zed, config: {path: y}}
  - {name: tap-custom, namespace: tap_custom, pip_url: mine==1, executable: mine, settings: [{name: a, value: b}]}
"""


def write_heirs(root: Path) -> None:
    write(root, HEIRS)
    folder = "plugins/extractors"
    write(root, json.dumps(LOCK), f"{folder}/tap-x--acme.lock")
    write(
        root, json.dumps({**LOCK, "name": "tap-y", "variant": "zed", "namespace": "tap_y"}), f"{folder}/tap-y--zed.lock"
    )
    # A stranger's package of the same name as the project's own plugin.
    write(root, json.dumps({**LOCK, "name": "tap-custom"}), f"{folder}/tap-custom--acme.lock")
    write(root, json.dumps({**LOCK, "name": "tap-custom"}), f"{folder}/tap-custom.lock")


@pytest.mark.parametrize(
    ("name", "folder", "requirement", "executable", "namespace", "parent"),
    [
        ("tap-x", "tap-x", "acme-x==1", "tap-acme", "tap_x", ""),
        ("tap-heir", "tap-x", "acme-x==1", "tap-acme", "tap_heir", "tap-x"),
        ("tap-other", "tap-other", "acme-x==9", "tap-two", "tap_other", "tap-heir"),
        ("tap-locked", "tap-y", "acme-x==1", "tap-acme", "tap_locked", "tap-y"),
        ("tap-custom", "tap-custom", "mine==1", "mine", "tap_custom", ""),
    ],
)
def test_heirs_locked_and_custom_plugins_are_what_meltano_takes_them_for(
    root: Path, name: str, folder: str, requirement: str, executable: str, namespace: str, parent: str
) -> None:
    write_heirs(root)
    env = {"VERSION": "9", "TAP_X_TOKEN": "of-x", "TAP_OTHER_START": "by-variable"}
    _, (plugin,) = ask(root, ("extractors", name), env=env)
    assert (plugin.folder, plugin.requirements, plugin.executable) == (folder, (requirement,), executable)
    assert (plugin.namespace, plugin.parent) == (namespace, parent)
    printed = json.loads(meltano(root, "--environment=dev", "config", "--unsafe", "print", name, **env))
    assert config_of(plugin) == printed
    check_plugin(plugin, "dev")


def test_variables_in_pip_url_are_filled_in_as_an_installation_does(root: Path) -> None:
    write(
        root,
        """
env: {NAME: "tap-$KIND", PLAIN: x}
environments: [{name: dev, env: {ONLY_HERE: e}}]
python: python$MINOR
plugins:
  extractors:
  - name: tap-a
    namespace: tap_a
    env: {EXTRA: "[$PLAIN]"}
    pip_url: '${NAME}${EXTRA}==$VERSION --index-url "https://u:$TOKEN@host/a b"'
  - {name: tap-b, namespace: tap_b, pip_url: "$ONLY_HERE"}
  - {name: tap-c, namespace: tap_c, pip_url: "$NAME"}
""",
    )
    write(root, "VERSION=1.2 # pinned\nMINOR=3.11\n", ".env")
    _, (plugin,) = ask(root, TAP, env={"KIND": "k", "TOKEN": "t"})
    assert plugin.requirements == ("tap-k[x]==1.2", "--index-url", "https://u:t@host/a b")
    assert plugin.python == "python3.11"
    for name, variable in (("tap-b", "ONLY_HERE"), ("tap-c", "KIND")):
        _, (plugin,) = ask(root, ("extractors", name))
        with pytest.raises(MissingSetting, match=rf"{name}: pip_url is set from .*\${variable}"):
            check_plugin(plugin, "dev")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("config: {a: '${TAP_A_A}'}", r"tap-a: setting a is set from \$TAP_A_A, which has no value"),
        ("config: {a: $TAP_A_B, b: b}", r"setting a is set from \$TAP_A_B"),
        (
            "config: {a: {b: [{c: 'x-${NOPE}'}]}}",
            r"setting a\.b is set from \$NOPE, which has no value \(in \[0\]\.c\)",
        ),
        ("settings: [{name: z, value: $NOPE}]", r"setting z is set from \$NOPE"),
        ("select: ['$NOPE.*']", r"setting _select is set from \$NOPE"),
        ("metadata: {'*': {replication-key: $NOPE}}", r"setting _metadata.*is set from \$NOPE"),
        ("config: {a: $P}", r"setting a is set from \$P, and the env block that sets it from \$NOPE is not filled in"),
        (
            "config: {a: $P}\n    env: {P: $WORKER}",
            r"set from \$P, and the env block that sets it from \$WORKER is not",
        ),
        ("env: {PGPASSWORD: $NOPE}", r"tap-a: env PGPASSWORD is set from \$NOPE, which has no value in a plugin's env"),
        # Meltano has a value for it and yet leaves the block's variable empty.
        ("env: {PGPASSWORD: $WORKER}", r"tap-a: env PGPASSWORD is set from \$WORKER, which has no value in a plugin's"),
        ("pip_url: tap==$NOPE", r"tap-a: pip_url is set from \$NOPE"),
        ("pip_url: tap==$P", r"tap-a: pip_url is set from \$P.*\$NOPE"),
    ],
)
def test_a_variable_without_a_value_is_found_wherever_meltano_would_leave_it_empty(
    root: Path, entry: str, message: str
) -> None:
    write(
        root,
        f"""
env: {{P: $NOPE}}
environments: [{{name: dev}}]
plugins:
  extractors:
  - name: tap-a
    namespace: tap_a
    {entry}
""",
    )
    _, (plugin,) = ask(root, TAP, env={"WORKER": "worker"})
    with pytest.raises(MissingSetting, match=message):
        check_plugin(plugin, "dev")


def test_a_mapping_sees_no_variable_of_the_environments_block_and_is_refused(root: Path) -> None:
    write(
        root,
        """
environments: [{name: dev, env: {OF_ENVIRONMENT: e}}]
env: {LITERAL: $WORKER}
plugins:
  mappers:
  - name: map-a
    namespace: map_a
    executable: ./dump_plugin.py
    mappings:
    - {name: deep, config: {maps: [{people: {salt: "a-${OF_ENVIRONMENT}"}}]}}
    - {name: literal, config: {salt: $LITERAL}}
""",
    )
    for mapping, message in (
        ("deep", r"map-a: mapping deep is set from \$OF_ENVIRONMENT, which has no value \(in maps\[0\]\.people\.salt"),
        (
            "literal",
            r"mapping literal is set from \$LITERAL \(in salt\), and the env block that sets it from \$WORKER is not",
        ),
    ):
        _, (plugin,) = ask(root, ("mappings", mapping), env={"WORKER": "w"})
        with pytest.raises(MissingSetting, match=message):
            check_plugin(plugin, "dev")


def test_a_dollar_in_a_secret_is_not_a_variable_and_an_ancestors_block_counts(root: Path) -> None:
    write(
        root,
        """
environments: [{name: dev, env: {PASSED_ON: $SECRET}}]
plugins:
  extractors:
  - {name: tap-a, namespace: a, settings: [{name: pw}], config: {pw: "$PASSED_ON-$SECRET"}}
  - {name: tap-b, inherit_from: tap-c}
  - {name: tap-c, namespace: c, settings: [{name: pw}], config: {pw: $OF_C}, env: {OF_C: $SECRET}}
""",
    )
    env = {"SECRET": "with$DOLLAR"}
    _, (plugin,) = ask(root, TAP, env=env)
    check_plugin(plugin, "dev")
    assert plugin.values["pw"].value == "with$DOLLAR-with$DOLLAR"
    _, (heir,) = ask(root, ("extractors", "tap-b"), env=env)
    with pytest.raises(
        MissingSetting, match=r"tap-b: setting pw is set from \$OF_C, and the env block that sets it from"
    ):
        check_plugin(heir, "dev")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("abc", "integer", r"setting a is not a value of the kind integer"),
        ("'[1'", "array", r"setting a is not a value of the kind array"),
        ("hunter2", "object", r"setting a is not a value of the kind object"),
        ("c", "options, options: [{value: a}, {value: b}]", r"setting a is not one of a, b"),
    ],
)
def test_a_value_that_meltano_cannot_take_is_refused_before_it_runs(
    root: Path, value: str, kind: str, message: str
) -> None:
    entry = f"{{name: tap-a, namespace: tap_a, settings: [{{name: a, kind: {kind}}}], config: {{a: {value}}}}}"
    write(root, f"environments: [{{name: dev}}]\nplugins: {{extractors: [{entry}]}}")
    _, (plugin,) = ask(root, TAP)
    with pytest.raises(InvalidInput, match=message) as caught:
        check_plugin(plugin, "dev")
    assert "hunter2" not in str(caught.value)


def test_a_setting_that_two_variables_set_is_refused_as_meltano_does(root: Path) -> None:
    entry = "{name: tap-a, namespace: ns, settings: [{name: a}]}"
    write(root, f"environments: [{{name: dev}}]\nplugins: {{extractors: [{entry}]}}")
    _, (plugin,) = ask(root, TAP, env={"TAP_A_A": "1", "NS_A": "2"})
    with pytest.raises(InvalidInput, match=r"setting a is set by several names at once: TAP_A_A, NS_A"):
        check_plugin(plugin, "dev")


ONE = "environments: [{name: dev}]\nplugins: {extractors: [%s]}"


@pytest.mark.parametrize(
    ("text", "error", "subject", "message"),
    [
        (
            ONE % "{name: tap-a, namespace: a, settings: [{name: b, kind: sting}]}",
            InvalidInput,
            "tap-a.b",
            r"tap-a: setting b has the kind 'sting', which Meltano does not know. Did you mean string\? It knows: ",
        ),
        (
            # A plugin that does not run counts too: Meltano reads all.
            ONE % "{name: tap-a, namespace: a}, {name: tap-z, namespace: z, settings: [{kind: string}]}",
            InvalidInput,
            "tap-z",
            r"tap-z: one of its settings has no name",
        ),
        (ONE % "{name: tap-a, namespace: a}, {namespace: z}", InvalidInput, "plugins.extractors[1]", r"has no name"),
        (
            "environments: [{name: dev}]\nplugins: {extractors: [{name: tap-a, namespace: a}], tappers: [{name: a}]}",
            InvalidInput,
            "plugins.tappers",
            r"plugins.tappers is not a kind of plugin. Meltano knows: extractors",
        ),
        (
            ONE % "{name: tap-a}",
            InvalidInput,
            "tap-a",
            r"no definition of tap-a. Run `meltano lock --plugin-type extractor tap-a` and commit plugins/",
        ),
        (
            ONE % "{name: tap-a, inherit_from: tap-q}",
            InvalidInput,
            "tap-q",
            r"tap-a inherits from tap-q, which the project neither declares nor has locked. "
            r"Run `meltano add --no-install --plugin-type extractor tap-q`",
        ),
        (
            ONE % "{name: tap-a, inherit_from: tap-q, variant: v}",
            InvalidInput,
            "tap-q",
            r"inherits from tap-q, variant v,.*--variant v tap-q",
        ),
        (
            ONE % "{name: tap-a, inherit_from: tap-b}, {name: tap-b, inherit_from: tap-a}",
            InvalidInput,
            "tap-a",
            r"inherits from itself",
        ),
        (
            "plugins: {extractors: [{name: tap-a, namespace: a}]}",
            InvalidInput,
            "environment",
            r"The project declares no environment.*Add `environments: \[\{name: dev\}\]` and `default_env",
        ),
        (
            "environments: [{name: a}, {name: b}]\nplugins: {extractors: [{name: tap-a, namespace: a}]}",
            InvalidInput,
            "environment",
            r"several environments and no default one. Choose one of a, b, or set default_environment",
        ),
        (
            "default_environment: prd\nenvironments: [{name: prod}]\n"
            "plugins: {extractors: [{name: tap-a, namespace: a}]}",
            NotFound,
            "environment",
            r"no environment named 'prd'. Did you mean prod\? Declared: prod",
        ),
        (
            "requires_meltano: '>=9'\n" + ONE % "{name: tap-a, namespace: a}",
            InvalidInput,
            "requires_meltano",
            r"requires Meltano >=9, and flexcore runs 4",
        ),
        (
            ONE % "{name: tap-a, namespace: a, namespace: b}",
            InvalidInput,
            "project",
            r"cannot read meltano.yml \(line 2\).*duplicate key",
        ),
    ],
)
def test_a_project_that_meltano_refuses_is_refused_with_the_place_and_what_helps(
    root: Path, text: str, error: type[FlexcoreError], subject: str, message: str
) -> None:
    write(root, text)
    with pytest.raises(error, match=message) as caught:
        ask(root, TAP)
    assert caught.value.subject == subject and caught.value.remedy


def test_a_plugin_without_its_variant_gets_the_one_that_is_locked_as_a_remedy(root: Path) -> None:
    """Meltano would ask its hub for today's default variant and write over the lock file."""
    write(root, ONE % "{name: tap-x}, {name: tap-a, inherit_from: tap-x}")
    write(root, json.dumps(LOCK), "plugins/extractors/tap-x--acme.lock")
    with pytest.raises(InvalidInput, match=r"no definition of tap-x. Write `variant: acme` into the entry of tap-x"):
        ask(root, TAP)


@pytest.mark.parametrize(("kind", "word"), [("utilities", "utility"), ("loaders", "loader"), ("mappers", "mapper")])
def test_the_remedy_is_a_command_that_meltano_knows(root: Path, kind: str, word: str) -> None:
    write(root, f"environments: [{{name: dev}}]\nplugins: {{{kind}: [{{name: it}}]}}")
    with pytest.raises(InvalidInput, match=rf"--plugin-type {word} it`"):
        ask(root, (kind, "it"))


def test_a_name_that_two_plugins_have_is_refused_since_meltano_goes_by_the_name_alone(root: Path) -> None:
    both = "{extractors: [{name: it, namespace: a}], loaders: [{name: it, namespace: b}]}"
    write(root, f"environments: [{{name: dev}}]\nplugins: {both}")
    with pytest.raises(InvalidInput, match=r"it is the name of a extractor too. Give one of them another name"):
        ask(root, ("loaders", "it"))


def test_the_environment_is_the_wanted_one_else_what_variables_and_files_say(root: Path) -> None:
    write(
        root,
        "default_environment: a\nenvironments: [{name: a}, {name: b}, {name: c}]\nplugins: {extractors: "
        "[{name: tap-a, namespace: a}]}",
    )
    assert ask(root, TAP)[0].environment == "a"
    write(root, "MELTANO_ENVIRONMENT=b\n", ".env")
    assert ask(root, TAP)[0].environment == "b"
    assert ask(root, TAP, env={"MELTANO_ENVIRONMENT": "c"})[0].environment == "c"
    assert ask(root, TAP, env={"MELTANO_ENVIRONMENT": "c"}, environment="a")[0].environment == "a"


def test_settings_of_the_project_itself_come_from_wherever_meltano_takes_them(root: Path) -> None:
    write(
        root,
        ONE % "{name: tap-a, namespace: a}" + "\ndatabase_uri: postgresql://u:$PG@db/m\nstate_backend: {uri: s3://b/x}",
    )
    write(root, "PG=copper # comment\nMELTANO_STATE_BACKEND_S3_AWS_ACCESS_KEY_ID=k\n", ".env")
    project, _ = ask(root, TAP)
    assert project.setting("database_uri") == "postgresql://u:copper@db/m"
    assert project.setting("state_backend.uri") == "s3://b/x"
    assert project.setting("state_backend.s3.aws_access_key_id") == "k"
    assert project.setting("project_id") is None
    assert ask(root, TAP, env={"MELTANO_STATE_BACKEND_URI": "systemdb"})[0].setting("state_backend.uri") == "systemdb"


def test_a_dotenv_file_is_read_as_meltano_reads_it(root: Path) -> None:
    assert read_dotenv(root, {}) == {}
    write(root, "A=x # no\nB='y # yes'\nexport C=\"l1\nl2\"\nD=${A}-$HOME-${WORKER}\nE\nF=\n", ".env")
    assert read_dotenv(root, {"WORKER": "w"}) == {
        "A": "x",
        "B": "y # yes",
        "C": "l1\nl2",
        "D": "x-$HOME-w",
        "F": "",
    }


def test_the_same_content_starts_meltano_once_and_nothing_of_it_lies_about(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        ONE
        % "{name: tap-a, namespace: a, settings: [{name: pw, kind: password}, {name: v}], config: {pw: $PW, v: '1'}}"
    )
    write(root, text)
    write(root, "PW=copper-otter\n", ".env")
    first = ask(root, TAP)
    assert first[1][0].values["pw"].value == "copper-otter"
    kept = b"".join(path.read_bytes() for path in (home / "meltano/answers").iterdir())
    assert kept and b"copper" not in kept and b"tap-a" not in kept
    assert not any(
        b"copper" in path.read_bytes() for path in (home / "meltano/inspection").rglob("*") if path.is_file()
    )

    started: list[int] = []

    def counted() -> Path:
        started.append(1)
        return meltano_python()

    monkeypatch.setattr(installation, "meltano_python", counted)
    assert ask(root, TAP) == first and not started
    write(root, "PW=another-one\n", ".env")
    assert ask(root, TAP)[1][0].values["pw"].value == "another-one" and len(started) == 1
    ask(root, TAP, env={"A_V": "2"})
    ask(root, TAP, env={"A_V": "2"})
    assert len(started) == 2
    write(root, text.replace("'1'", "'3'"))
    assert ask(root, TAP)[1][0].values["v"].value == "3" and len(started) == 3
    for path in (home / "meltano/answers").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert ask(root, TAP)[1][0].values["v"].value == "3" and len(started) == 4


def test_a_program_that_ends_without_an_answer_is_an_error_with_its_output(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, ONE % "{name: tap-a, namespace: a}")
    monkeypatch.setattr(inspection, "START", "import sys; sys.exit('no such thing as pass-word-1')")
    with pytest.raises(ExecutionFailed, match=r"Meltano cannot inspect the project: no such thing as \*\*\*") as caught:
        ask(root, TAP, env={"MY_TOKEN": "pass-word-1"})
    assert caught.value.category == "meltano_failed"


def test_the_project_is_not_written_to(root: Path) -> None:
    write_heirs(root)
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    ask(root, ("extractors", "tap-heir"), env=dict(os.environ))
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before
    shutil.rmtree(root / "plugins")
    ask(root, ("extractors", "tap-custom"))
    with pytest.raises(InvalidInput, match="meltano lock"):
        ask(root, ("extractors", "tap-heir"))
    assert not (root / "plugins").exists()
