#!/usr/bin/env bash
# Installs edgeexport's light runtime (no torch) into a virtual environment, versions pinned: from this checkout, or, where a folder
# `wheels` lies beside the folder of this script (collect_wheels.py makes it on a PC), from that folder alone, without a network.
#
#   jetson/install-runtime.sh ENVIRONMENT
#
# ENVIRONMENT is a folder that does not exist yet. It sees the system's packages: TensorRT's Python module is JetPack's, never
# one from an index. PYTHON names the interpreter (python3; 3.10 or newer, with venv). Needs neither root nor a GPU.
set -euo pipefail

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

(($# == 1)) || fail "$# arguments | expected the environment's folder | such as ${0##*/} ~/edgeexport-env" 2
environment="$1"
[[ ! -e $environment ]] || fail "$environment | exists already | remove it, or name another folder" 2
source_folder="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
constraints="$source_folder/jetson/constraints.txt"
python="${PYTHON:-python3}"
"$python" -I -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python | is older than Python 3.10, or has no venv | sudo apt-get install python3-venv, or set PYTHON"

# -I: modules of the current folder are not taken for Python's own.
# NVIDIA's images pin packages of their own for every pip.
unset PIP_CONSTRAINT
export PIP_DISABLE_PIP_VERSION_CHECK=1
if [[ -d $source_folder/wheels ]]; then
    if [[ -f $source_folder/SHA256SUMS ]]; then
        (cd -- "$source_folder" && sha256sum --check --quiet SHA256SUMS) ||
            fail "$source_folder/wheels | is damaged | copy the folder again"
    fi
    "$python" -I -m venv --system-site-packages "$environment"
    "$environment/bin/python" -I -m pip install --quiet --no-index --find-links "$source_folder/wheels" --constraint "$constraints" edgeexport
    printf 'edgeexport %s is in %s, without a network\n' "$("$environment/bin/edgeexport" version)" "$environment"
    exit 0
fi
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT

"$python" -I -m venv "$work/build"
"$work/build/bin/python" -I -m pip install --quiet --constraint "$constraints" hatchling
"$work/build/bin/python" -I -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work" "$source_folder"
"$python" -I -m venv --system-site-packages "$environment"
"$environment/bin/python" -I -m pip install --quiet --constraint "$constraints" "$work"/edgeexport-*.whl
printf 'edgeexport %s is in %s\n' "$("$environment/bin/edgeexport" version)" "$environment"
