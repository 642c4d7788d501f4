"""What the extra [export] installs: what of it is missing here, and what is installed but does not load.

A torch for another CUDA raises as it is imported, and so does everything that imports it. What runs on a device needs
none of these packages, so that it says what it found and goes on.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Sequence

from edgeexport.device.child import python_command
from edgeexport.documents import parsed
from edgeexport.documents.answers import NAME_TEXTS
from edgeexport.errors import BundleError, UsageError

__all__ = [
    "EXPORT_PACKAGES",
    "error_of_package",
    "failing_package",
    "not_loading",
    "not_loading_in_a_child",
    "packages_fault",
]

# Import name -> name as the package index knows it.
EXPORT_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmseg": "onedl-mmsegmentation",
    "onnx": "onnx",
    "onnx_ir": "onnx-ir",
    "onnxscript": "onnxscript",
}

_IMPORT_TIMEOUT_S = 60.0
# Prints what `not_loading` finds of the modules named behind it.
_CHILD = "import json, edgeexport.device.packages as ours; print(json.dumps(ours.not_loading(sys.argv[1:])))"
_INSTALL = "pip install 'edgeexport[export]'"


def not_loading(modules: Iterable[str]) -> dict[str, str]:
    """Imports packages, and returns those that fail to load, with the first line of what they raise.

    Args:
        modules: Import names of installed packages. Of one that fails for another of them, such as timm for its torch,
            that other is returned alone.
    """
    failures: dict[str, str] = {}
    names = list(modules)
    for name in names:
        try:
            importlib.import_module(name)
        except (
            Exception
        ) as error:  # libraries that do not fit raise ImportError, OSError, RuntimeError, AttributeError...
            failing = failing_package(error)
            failures.setdefault(failing if failing in names else name, _first_line(error))
    return failures


def not_loading_in_a_child(
    run: Callable[[Sequence[str], float], str | None], packages: Iterable[str]
) -> dict[str, str]:
    """As `not_loading`, of package names and in a process of its own, which a broken library may end.

    Args:
        run: Gives a command's standard output, or None if it failed or took longer than so many seconds.
        packages: What is installed, as the package index names it; those of `EXPORT_PACKAGES` are looked at.
    """
    installed = set(packages)
    modules = [module for module, name in EXPORT_PACKAGES.items() if name in installed]
    failures = _printed_by_child(run, modules) if modules else {}
    if failures is None:  # no error was raised, the process ended or hung: the first that does so alone
        fatal = next((module for module in modules if _printed_by_child(run, [module]) is None), None)
        failures = {} if fatal is None else {fatal: "its import ends the process, or takes over a minute"}
    return {EXPORT_PACKAGES[module]: line for module, line in failures.items()}


def packages_fault(modules: Iterable[str]) -> str:
    """Why the packages cannot be used here, and what to do; empty where all of them load."""
    names = list(modules)
    missing = [name for name in names if not _installed(name)]
    if missing:
        return f"{', '.join(missing)} not installed ({_INSTALL})"
    return "; ".join(f"{_does_not_load(name, line)} ({_remedy(name)})" for name, line in not_loading(names).items())


def failing_package(error: BaseException) -> str | None:
    """The package of `EXPORT_PACKAGES` that was being imported when the error was raised: the innermost; None for none."""
    innermost = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in EXPORT_PACKAGES and frame.f_code.co_name == "<module>":
            innermost = package
        trace = trace.tb_next
    return innermost


def error_of_package(error: BaseException) -> UsageError | None:
    """What to tell of an error that an import of a package of `EXPORT_PACKAGES` raised; None for any other error."""
    failing = failing_package(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        needed = error.name.partition(".")[0]
        if needed in EXPORT_PACKAGES and needed != failing:
            return UsageError(
                f"this needs {error.name}, which is not installed", "", f"{_INSTALL} (Python 3.11 or newer)"
            )
    if failing is None:
        return None
    return UsageError(f"this needs {failing}", _does_not_load(failing, _first_line(error)), _remedy(failing))


def _printed_by_child(
    run: Callable[[Sequence[str], float], str | None], modules: Sequence[str]
) -> dict[str, str] | None:
    lines = (run(python_command(_CHILD, *modules), _IMPORT_TIMEOUT_S) or "").splitlines()
    try:
        failures = parsed(lines[-1], NAME_TEXTS, "packages")
        return dict(failures)
    except (IndexError, BundleError):  # packages may print as they load, but not after the last of them
        return None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # an import hook may refuse it; a module that stands in for it has no spec
        return False


def _does_not_load(module: str, line: str) -> str:
    try:
        version = f" {importlib.metadata.version(EXPORT_PACKAGES.get(module, module))}"
    except importlib.metadata.PackageNotFoundError:  # installed under another name, or put there by hand
        version = ""
    return f"{module}{version} is installed but does not load: {line}"


def _remedy(module: str) -> str:
    name = EXPORT_PACKAGES.get(module, module)
    shown = f"python -c 'import {module}' shows all of it"
    if module in ("torch", "torchvision"):
        return f"{shown}; install the {name} made for this machine, on a Jetson that for its JetPack"
    return f"{shown}; pip install --force-reinstall {name}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    told = lines[0].strip() if lines else ""
    plain = isinstance(error, (ImportError, OSError)) and told
    return told if plain else f"{type(error).__name__}: {told}".removesuffix(": ")
