"""The power mode of a running system, where its file cannot be read: nvpmodel is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexport.device import power_mode
from edgeexport.device.power_mode import PowerMode, read_power_mode


def _program(folder: Path, text: str) -> None:
    program = folder / "nvpmodel"
    program.write_text(f'#!/bin/sh\n[ "$1" = -q ] || exit 3\n{text}\n')
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf 'NV Power Mode: MODE_30W\\n2\\n'", PowerMode(2, "MODE_30W")),
        ("printf 'NVPM WARN: fan mode is not set!\\nNV Power Mode: MAXN_SUPER\\n0\\n'", PowerMode(0, "MAXN_SUPER")),
        ("echo 'no permission' >&2; exit 1", None),
    ],
)
def test_nvpmodel_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: PowerMode | None
) -> None:
    _program(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(power_mode, "text_of", lambda path: None)
    assert read_power_mode() == expected


def test_the_program_is_not_asked_about_another_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path, "printf 'NV Power Mode: MAXN\\n0\\n'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert read_power_mode(tmp_path) is None
