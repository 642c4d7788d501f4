#!/usr/bin/env bash
# From a checkout on a Jetson to a working edgeexport, in one folder, without root, docker or systemd.
#
#   jetson/quickstart.sh [--target TARGET] [--any-machine] [ENVIRONMENT]
#
#   --target TARGET   orin (default), orin-32gb, orin-nx, orin-nano or thor
#   --any-machine     do not insist on a Jetson with TensorRT; to try the steps elsewhere
#   ENVIRONMENT       the folder to make, ~/edgeexport-env by default; a finished one is left as it is
set -euo pipefail

here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
target="orin" environment="$HOME/edgeexport-env" strict=1
fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

while (($#)); do
    case "$1" in
    --target)
        (($# >= 2)) || fail "--target | needs a name | such as --target orin" 2
        target="$2"
        shift 2
        ;;
    --any-machine)
        strict=0
        shift
        ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    -*) fail "$1 | no such option | expected --target or --any-machine" 2 ;;
    *)
        environment="$1"
        shift
        ;;
    esac
done

if ((strict)); then
    [[ -e /etc/nv_tegra_release ]] || fail "/etc/nv_tegra_release | not found, so this is no Jetson | --any-machine tries the steps all the same"
    "${PYTHON:-python3}" -c 'import tensorrt; print("TensorRT", tensorrt.__version__)' ||
        fail "tensorrt | Python cannot import it | sudo apt-get install nvidia-jetpack"
fi
if [[ -x $environment/bin/edgeexport ]]; then
    printf 'edgeexport is in %s already; remove that folder to install anew\n' "$environment"
else
    "$here/install-runtime.sh" "$environment"
fi
"$here/compile-plugins.sh" "$environment" "$target"
"$environment/bin/edgeexport" doctor --target "$target"
cat <<END

Next, with a bundle that a PC has made with: edgeexport build RECIPE --target $target

  export PATH="$environment/bin:\$PATH"
  nvpmodel -m ID               # as root, once: the mode to deploy in (names: /etc/nvpmodel.conf); it may ask for a reboot
  "$here/with-clocks.sh" --mode MAXN -- edgeexport build BUNDLE    # its engine, tuned for that mode
  edgeexport verify BUNDLE
  "$here/with-clocks.sh" --mode MAXN -- edgeexport profile BUNDLE --power
END
