"""Finding TensorRT's headers: named, in the system, in a wheel that is unpacked and not installed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from plugin_cases import fake_search, write_headers

from edgeexport.errors import BuildError, UsageError
from edgeexport.plugin.headers import find_headers


class FakePip:
    """Writes a wheel where pip would; counts its calls."""

    def __init__(self, files: dict[str, str] | None) -> None:
        self.files, self.commands = files, []

    def __call__(self, command: Sequence[str], timeout_s: float) -> str | None:
        self.commands.append(list(command))
        if self.files is None:
            return None
        folder = Path(command[list(command).index("--dest") + 1])
        with zipfile.ZipFile(folder / "kernel_lens-2.0.1-py3-none-any.whl", "w") as archive:
            for name, text in self.files.items():
                archive.writestr(name, text)
        return ""


def _wheel_files(tmp_path: Path) -> dict[str, str]:
    headers = write_headers(tmp_path / "for-the-wheel")
    files = {f"kernel_lens/include/tensorrt/{path.name}": path.read_text() for path in headers.iterdir()}
    return {**files, "kernel_lens/config.py": "1 / 0", "kernel_lens/include/tensorrt/../../../evil.h": "outside"}


@pytest.mark.parametrize("indirect", [False, True])
def test_version_of_old_and_new_headers(tmp_path: Path, indirect: bool) -> None:
    folder = write_headers(tmp_path / "include", "10.3.0", indirect=indirect)
    found = find_headers(folder, fake_search(tmp_path))
    assert (found.version, found.source, found.folder) == ("10.3.0", "option", folder)


def test_order_of_the_places(tmp_path: Path) -> None:
    option, variable = write_headers(tmp_path / "a", "10.1.0"), write_headers(tmp_path / "b", "10.2.0")
    search = fake_search(tmp_path, environ={"TENSORRT_INCLUDE": str(variable)})
    write_headers(tmp_path / "usr/include/aarch64-linux-gnu", "10.3.0")
    assert find_headers(option, search).version == "10.1.0"
    assert find_headers(search=search).source == "environment"
    assert find_headers(search=fake_search(tmp_path)).version == "10.3.0"


@pytest.mark.parametrize("by_option", [True, False])
def test_named_folder_without_headers(tmp_path: Path, by_option: bool) -> None:
    include = tmp_path / "nowhere"
    where = "--tensorrt-include" if by_option else "TENSORRT_INCLUDE="
    search = fake_search(tmp_path, environ={} if by_option else {"TENSORRT_INCLUDE": str(include)})
    with pytest.raises(UsageError, match=f"{where}.*is no folder"):
        find_headers(include if by_option else None, search)
    include.mkdir()
    with pytest.raises(UsageError, match="holds no NvInfer") as caught:
        find_headers(include if by_option else None, search)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("version", ["8.6.2", "1.2.0", "12.0.0"])
def test_headers_of_another_tensorrt(tmp_path: Path, version: str) -> None:
    folder = write_headers(tmp_path / "usr/include/aarch64-linux-gnu", version)
    with pytest.raises(BuildError, match=f"headers of TensorRT {version}, expected TensorRT 10 or 11") as caught:
        find_headers(search=fake_search(tmp_path))
    assert caught.value.exit_code == 5
    with pytest.raises(UsageError, match=f"TensorRT {version}"):
        find_headers(folder, fake_search(tmp_path))


def test_headers_without_a_version(tmp_path: Path) -> None:
    folder = write_headers(tmp_path / "include")
    (folder / "NvInferVersion.h").write_text("#define NV_TENSORRT_MAJOR unknown\n")
    with pytest.raises(UsageError, match="names no version"):
        find_headers(folder, fake_search(tmp_path))


def test_wheel_is_downloaded_once_and_only_its_headers_are_kept(tmp_path: Path) -> None:
    pip = FakePip(_wheel_files(tmp_path))
    search = fake_search(tmp_path, run=pip)
    stages: list[str] = []
    with pytest.raises(BuildError, match=r"found no NvInfer\.h"):
        find_headers(search=search, download=False)
    found = find_headers(search=search, on_stage=stages.append)
    again = find_headers(search=search, download=False)
    assert found == again and found.source == "wheel" and found.version == "10.14.1"
    assert len(pip.commands) == 1 and "kernel-lens" in stages[0]
    assert "--no-deps" in pip.commands[0] and "--only-binary=:all:" in pip.commands[0]
    kept = sorted(path.relative_to(search.cache).as_posix() for path in search.cache.rglob("*") if path.is_file())
    assert kept == [f"tensorrt-headers/2.0.1/{name}" for name in ("NvInfer.h", "NvInferVersion.h")]
    assert not (tmp_path / "evil.h").exists()


def test_download_that_fails_says_what_else_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="pip could not download the wheel kernel-lens") as caught:
        find_headers(search=fake_search(tmp_path, run=FakePip(None)))
    assert "--tensorrt-include" in caught.value.remedy and caught.value.exit_code == 5
    with pytest.raises(BuildError, match="carries no TensorRT headers any more"):
        find_headers(search=fake_search(tmp_path, run=FakePip({"kernel_lens/config.py": ""})))
    assert not list((tmp_path / "cache/tensorrt-headers").iterdir())


def test_newest_unpacked_wheel_is_taken(tmp_path: Path) -> None:
    for wheel, version in (("2.0.9", "10.9.0"), ("2.0.10", "10.10.0")):
        write_headers(tmp_path / "cache/tensorrt-headers" / wheel, version)
    assert find_headers(search=fake_search(tmp_path), download=False).version == "10.10.0"
