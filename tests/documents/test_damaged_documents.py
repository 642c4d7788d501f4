"""One value of a bundle's documents changed: whatever reads it ends well, or with an error of ours that names file and key."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from damaged_documents import READ_BY, VALUES, form, places, quietly, readers, with_value, write_document, write_kernels
from shared_builds import SharedBuilds
from shared_cases import TINY_RECIPE

from edgeexport.errors import BundleError, EdgeExportError

_READS = 25  # of each document, the same in every run


@pytest.fixture(scope="module")
def bundles(builds: SharedBuilds, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A bundle with every document, a whole copy of it, and a folder for what is drawn."""
    from edgeexport.backends.engine import build_engine
    from edgeexport.profile.bench import profile_bundle
    from edgeexport.profile.protocol import TimingRequest

    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(builds.bundle("tiny.py", "orin", text=TINY_RECIPE), folder / "b")
    build_engine(folder / "b", target="cpu")
    profile_bundle(folder / "b", TimingRequest(0, 0.01, 2), allow_unstable=True)
    shutil.copy(folder / "b" / "parity.json", folder / "b" / "verify.json")
    write_kernels(folder / "b")
    shutil.copytree(folder / "b", folder / "other")
    return folder / "b", folder / "other", folder


@pytest.mark.parametrize("name", READ_BY)
def test_one_value_changed(name: str, bundles: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, other, folder = bundles
    if not (bundle / name).exists():
        pytest.skip("written by no command here")
    monkeypatch.setattr("edgeexport.commands.inspect.inspect_model", lambda path: {"operators": {}})
    calls = readers(bundle, other, folder)
    kept = {file: (bundle / file).read_bytes() for file in (name, "manifest.json")}
    document = json.loads(kept[name])
    forms = list({form(path): path for path in places(document)}.values())
    cases = [(path, value) for path in forms for value in VALUES]
    refused = 0
    reads = _READS // 2 if name in ("manifest.json", "work.json") else _READS  # those execute the graph
    for path, value in random.Random(7).sample(cases, reads):
        write_document(bundle, name, with_value(document, path, value))
        for reader in READ_BY[name]:
            error = quietly(calls[reader])
            assert error is None or isinstance(error, EdgeExportError), (name, path, value, reader, error)
            if isinstance(error, BundleError):
                refused += 1
        for file, content in kept.items():
            (bundle / file).write_bytes(content)
    assert refused > reads / 4
