#!/usr/bin/env bash
# Compiles the TensorRT plugin library with the CUDA toolkit, the TensorRT headers and the CMake of this machine.
#
#   jetson/compile-plugins.sh ENVIRONMENT [TARGET [LIBRARY]]
#
# ENVIRONMENT is what install-runtime.sh made. TARGET is orin (default), orin-32gb, orin-nx, orin-nano, thor or gpu. LIBRARY is the file to
# write, ENVIRONMENT/lib/libedgeexport_plugins.so by default; edgeexport keeps a copy in its cache (XDG_CACHE_HOME, else
# ~/.cache), where engine builds find it. TENSORRT_INCLUDE names the folder of NvInfer.h where it is not a system folder,
# CUDA_HOME the toolkit. Loads neither TensorRT nor a driver, so that it also works while an image is built.
set -euo pipefail

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

(($# >= 1 && $# <= 3)) || fail "$# arguments | expected the environment's folder, a target and a file | such as ${0##*/} ~/edgeexport-env orin" 2
environment="$1" target="${2:-orin}" library="${3:-$1/lib/libedgeexport_plugins.so}"
edgeexport="$environment/bin/edgeexport"
[[ -x $edgeexport ]] || fail "$environment | holds no edgeexport | run jetson/install-runtime.sh $environment first" 2

# The library has to be compiled with the headers of the TensorRT that will load it, so none are fetched from elsewhere.
headers="${TENSORRT_INCLUDE:-}"
if [[ -z $headers ]]; then
    for folder in "/usr/include/$(uname -m)-linux-gnu" /usr/include /usr/local/tensorrt/include; do
        if [[ -e $folder/NvInfer.h ]]; then
            headers="$folder"
            break
        fi
    done
fi
[[ -n $headers ]] || fail "NvInfer.h | not found in the system | sudo apt-get install libnvinfer-headers-dev, or set TENSORRT_INCLUDE"

"$edgeexport" plugin build --target "$target" --tensorrt-include "$headers" --out "$library"
if [[ $target != gpu ]]; then
    "$edgeexport" plugin test "$library" --target "$target" --machine "$(uname -m)"
fi
