"""Workflow, compose file, README and scripts name commands, options, conditions and files that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jetson_files import (
    COMPOSE,
    DOCKERFILE,
    REPOSITORY,
    SCRIPTS,
    WORKFLOW,
    docker_steps,
    edgeexport_calls,
    shell_text,
    tool,
    unknown_parts,
)
from test_shell_scripts import workflow_steps

from edgeexport.comparison.condition import condition_from_text
from edgeexport.comparison.metrics import VOCABULARY
from edgeexport.device.targets import TARGETS

README = REPOSITORY / "jetson" / "README.md"
SPOKEN = [README, *SCRIPTS, COMPOSE, DOCKERFILE]


def schema_check(schema: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("check-jsonschema"), "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-workflows", WORKFLOW), ("vendor.compose-spec", COMPOSE)],
    ids=["workflow", "compose"],
)
def test_schemas(tmp_path: Path, schema: str, path: Path) -> None:
    done = schema_check(schema, path)
    assert done.returncode == 0, done.stdout + done.stderr
    bad = tmp_path / path.name
    bad.write_text(path.read_text().replace("    runs-on:", "    run-on:").replace("    runtime:", "    run_time:"))
    assert schema_check(schema, bad).returncode != 0


def test_calls_are_found_and_judged() -> None:
    text = (
        'x/with-clocks.sh -- edgeexport profile b --power\n"$e/bin/edgeexport" plugin build \\\n  --target orin | tee a'
    )
    assert edgeexport_calls(text) == [["profile", "b", "--power"], ["plugin", "build", "--target", "orin"]]
    assert edgeexport_calls("docker build -t edgeexport:jetson .\ncd edgeexport && ls") == []
    assert unknown_parts(["profile", "b", "--powr"]) == ["--powr"]
    assert unknown_parts(["profil", "b"]) == ["profil"]
    assert unknown_parts(["plugin", "biuld"]) == ["biuld"]
    assert unknown_parts(["build", "r", "--target=orin", "--no-plugins"]) == []


def test_the_readme_shows_every_step() -> None:
    called = {call[0] for call in edgeexport_calls(shell_text(README))}
    assert called >= {"build", "verify", "run", "profile", "compare", "doctor"}


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.name)
def test_commands_and_options_exist(path: Path) -> None:
    for call in edgeexport_calls(shell_text(path)):
        assert not unknown_parts(call), call


def test_the_workflow_builds_verifies_profiles_compares_and_uploads() -> None:
    calls = [call for step in workflow_steps() for call in edgeexport_calls(step)]
    for call in calls:
        assert not unknown_parts(call), call
    assert [call[0] for call in calls] == ["build", "doctor", "build", "verify", "profile", "compare"]
    document = yaml.safe_load(WORKFLOW.read_text())
    uses = [step.get("uses", "") for job in document["jobs"].values() for step in job["steps"]]
    assert uses.count("actions/upload-artifact@v4") == 2
    assert all(re.search(r"@v\d", name) for name in uses if name)
    assert document["jobs"]["device"]["runs-on"] == ["self-hosted", "linux", "ARM64", "jetson"]
    assert document["env"]["TARGET"] in TARGETS
    assert (REPOSITORY / "recipes" / document[True]["workflow_dispatch"]["inputs"]["recipe"]["default"]).is_file()


def test_conditions_can_be_read_and_name_figures_that_exist() -> None:
    calls = [call for text in (*workflow_steps(), shell_text(README)) for call in edgeexport_calls(text)]
    conditions = [call[place + 1] for call in calls for place, word in enumerate(call) if word == "--fail-if"]
    assert len(conditions) >= 8
    for text in conditions:
        for reference in condition_from_text(text).references:
            assert reference.name in VOCABULARY, text


def test_files_that_are_named_exist() -> None:
    text = README.read_text()
    for name in re.findall(r"`((?:\.\./|ci/)?[\w.-]+\.(?:sh|yml|yaml|txt|jetson))`", text):
        assert (README.parent / name).exists() or (REPOSITORY / name).exists(), name
    everything = "\n".join(path.read_text() for path in (*SPOKEN, WORKFLOW))
    for name in re.findall(r"\bjetson/[\w/.-]+\.(?:sh|yaml|yml|md)\b", everything):
        assert (REPOSITORY / name).exists(), name


def test_build_arguments_are_the_dockerfiles() -> None:
    arguments = {text.partition("=")[0] for name, text in docker_steps() if name == "ARG"}
    compose = yaml.safe_load(COMPOSE.read_text())["services"]["edgeexport"]
    assert set(compose["build"]["args"]) == arguments
    assert (COMPOSE.parent / compose["build"]["context"] / compose["build"]["dockerfile"]).resolve() == DOCKERFILE
    named = set(re.findall(r"--build-arg (\w+)", README.read_text() + DOCKERFILE.read_text()))
    assert named <= arguments and all(f"`{name}`" in README.read_text() for name in arguments)
    images = set(re.findall(r"nvcr\.io/nvidia/[\w-]+:[\w.-]+", DOCKERFILE.read_text()))
    assert images == set(re.findall(r"nvcr\.io/nvidia/[\w-]+:[\w.-]+", README.read_text()))
    assert compose["build"]["args"]["BASE_IMAGE"] == "${BASE_IMAGE:-" + dict(_defaults())["BASE_IMAGE"] + "}"


def _defaults() -> list[tuple[str, str]]:
    return [tuple(text.split("=", 1)) for name, text in docker_steps() if name == "ARG"]  # type: ignore[misc]


def test_compose_and_docker_run_mount_the_same() -> None:
    """So that a measurement in either knows release and power mode."""
    compose = yaml.safe_load(COMPOSE.read_text())["services"]["edgeexport"]
    line = " ".join(
        re.search(r"docker run --rm --runtime nvidia \\\n(?:.*\\\n)+.*", README.read_text()).group().split("\\\n")
    )  # type: ignore[union-attr]
    for volume in compose["volumes"][1:]:
        assert f"-v {volume}" in line
    for option in compose["security_opt"]:
        assert f"--security-opt {option}" in line
    for name, value in compose["environment"].items():
        assert f"-e {name}={value}" in line
    assert f"--runtime {compose['runtime']}" in line


def test_the_readme_says_that_nothing_ran_on_a_jetson() -> None:
    assert "**Nothing in this folder has run on a Jetson.**" in README.read_text()
