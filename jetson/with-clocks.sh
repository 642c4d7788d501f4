#!/usr/bin/env bash
# Runs a command with a Jetson's power mode set and its clocks pinned, and puts both back however the command ends.
#
#   jetson/with-clocks.sh [--mode NAME|ID] [--no-clocks] [--] COMMAND [ARGUMENT...]
#
#   --mode NAME|ID   a mode of /etc/nvpmodel.conf, such as MAXN or 0; the numbers differ between modules
#   --no-clocks      leave the clocks to the system
#
# nvpmodel and jetson_clocks need root: another user is asked for sudo's password at the start, if it takes one. COMMAND runs as the user who
# called, without standard input. SIGINT, SIGTERM and SIGHUP are passed on to it; a second one kills it. The exit code is
# COMMAND's, 128 + the signal's number after a signal, 2 for wrong arguments, 1 where something could not be set or put back.
# Never reboots: a mode that needs one is refused.
set -euo pipefail

name="${0##*/}"
config="${NVPMODEL_CONF:-/etc/nvpmodel.conf}"

say() { printf '%s: %s\n' "$name" "$*" >&2; }
fail() {
    say "$1"
    exit "${2:-1}"
}
as_root() { if ((EUID == 0)); then "$@"; else sudo -- "$@"; fi; }

wanted="" pin=1
while (($#)); do
    case "$1" in
    --mode)
        (($# >= 2)) || fail "--mode | needs a name or a number | such as --mode MAXN" 2
        wanted="$2"
        shift 2
        ;;
    --no-clocks)
        pin=0
        shift
        ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    --)
        shift
        break
        ;;
    -*) fail "$1 | no such option, expected --mode or --no-clocks | put -- before a command that begins with a dash" 2 ;;
    *) break ;;
    esac
done
(($#)) || fail "no command | expected one to run | such as: $name --mode MAXN -- edgeexport profile BUNDLE" 2

[[ -n $wanted ]] || ((pin)) || fail "--no-clocks without --mode | leaves nothing to set | run the command itself" 2

needed=()
[[ -z $wanted ]] || needed+=(nvpmodel)
((pin == 0)) || needed+=(jetson_clocks)
((EUID == 0)) || needed+=(sudo)
for program in "${needed[@]}"; do
    command -v "$program" >/dev/null || fail "$program | not found | run this on a Jetson, outside of containers"
done

# One at a time: a second run would take pinned clocks for those to put back. The lock is on this file, so that no other
# has to be written, and ends with this process.
exec 9<"$0"
if command -v flock >/dev/null; then
    flock --nonblock 9 || fail "another $name is running | it would put back what this one sets | wait for it"
fi
if ((EUID)); then
    probe=(jetson_clocks --show)
    [[ -z $wanted ]] || probe=(nvpmodel -q)
    sudo --non-interactive -- "${probe[@]}" &>/dev/null 9<&- || sudo --validate ||
        fail "sudo | was refused | run as root, or allow nvpmodel and jetson_clocks in sudoers"
fi

mode_now() { nvpmodel -q 2>/dev/null | sed -n 's/^[[:space:]]*\([0-9]\{1,\}\)[[:space:]]*$/\1/p' | tail -n 1; }
mode_name() { sed -n "s/^[[:space:]]*<[[:space:]]*POWER_MODEL[[:space:]]\{1,\}ID=$1[[:space:]]\{1,\}NAME=\([^[:space:]>]*\).*/\1/p" "$config" 2>/dev/null | head -n 1; }
mode_number() {
    if [[ $1 =~ ^[0-9]+$ ]]; then
        printf '%s\n' "$1"
        return
    fi
    sed -n 's/^[[:space:]]*<[[:space:]]*POWER_MODEL[[:space:]]\{1,\}ID=\([0-9]*\)[[:space:]]\{1,\}NAME=\([^[:space:]>]*\).*/\1 \2/p' \
        "$config" 2>/dev/null | awk -v wanted="$1" 'tolower($2) == tolower(wanted) { print $1; exit }'
}
described() {
    local known
    known="$(mode_name "$1")"
    printf '%s' "${known:+$known, }id $1"
}
# nvpmodel asks whether to reboot where a mode needs it, and waits: the answer is no. Whether it worked is asked of itself.
set_mode() {
    local printed
    printed="$(printf 'no\n' | as_root nvpmodel -m "$1" 2>&1 9<&-)" || true
    [[ $(mode_now) == "$1" ]] && return 0 # in a trap, a bare return has the status of before
    say "power mode $(described "$1") | could not be set: ${printed//$'\n'/ } | if it needs a reboot: sudo nvpmodel -m $1"
    return 1
}

before="" changed=0 state="" child="" ending="" keeper=""

# shellcheck disable=SC2329 # called by trap
# Backwards: unpin in the new mode, go back to the old mode, and put back the clocks that it had.
restore() {
    local status=$?
    trap '' INT TERM HUP
    trap - EXIT
    local bad=0
    [[ -z $keeper ]] || kill "$keeper" 2>/dev/null || true
    if [[ -n $state && -e $state/pinned ]]; then
        as_root jetson_clocks --restore "$state/clocks-new" >/dev/null 9<&- || bad=1
    fi
    if ((changed)); then
        set_mode "$before" || bad=1
        if ((pin)) && [[ -e $state/clocks-old ]]; then
            as_root jetson_clocks --restore "$state/clocks-old" >/dev/null 9<&- || bad=1
        fi
    fi
    if ((bad)); then
        say "could not put everything back | ${before:+sudo nvpmodel -m $before; }sudo jetson_clocks --restore FILE, files in $state | or reboot"
        ((status)) || status=1
    else
        [[ -z $state ]] || rm -rf -- "$state"
        say "power mode and clocks are as they were"
    fi
    exit "$status"
}

# shellcheck disable=SC2329 # called by trap
on_signal() {
    local number
    number="$(kill -l "$1")"
    local running="$child"
    [[ -n $running || ${!:-} == "$keeper" ]] || running="$!" # between its start and the next line
    if [[ -z $running ]]; then
        exit $((128 + number))
    elif [[ -z $ending ]]; then
        ending=$((128 + number))
        kill -s "$1" -- "-$running" 2>/dev/null || true
    else
        kill -s KILL -- "-$running" 2>/dev/null || true
    fi
}

if [[ -n $wanted ]]; then
    number="$(mode_number "$wanted")" || true
    [[ -n $number ]] || fail "--mode $wanted | no such mode in $config | known: $(sed -n 's/.*POWER_MODEL.*NAME=\([^[:space:]>]*\).*/\1/p' "$config" 2>/dev/null | tr '\n' ' ')" 2
    before="$(mode_now)" || true
    [[ -n $before ]] || fail "nvpmodel -q | does not tell the mode, so it could not be put back | is nvpmodel set up on this device?"
fi
state="$(mktemp -d)"
trap restore EXIT
trap 'on_signal INT' INT
trap 'on_signal TERM' TERM
trap 'on_signal HUP' HUP

if [[ -n $wanted && $number != "$before" ]]; then
    if ((pin)); then
        as_root jetson_clocks --store "$state/clocks-old" >/dev/null 9<&- || fail "jetson_clocks --store | failed | nothing was changed"
    fi
    changed=1
    set_mode "$number"
fi
if ((pin)); then
    as_root jetson_clocks --store "$state/clocks-new" >/dev/null 9<&- || fail "jetson_clocks --store | failed | the clocks were not changed"
    : >"$state/pinned"
    as_root jetson_clocks >/dev/null 9<&- || fail "jetson_clocks | could not pin the clocks"
fi
clocks="left to the system"
((pin == 0)) || clocks="pinned"
if [[ -n $wanted ]]; then say "power mode $(described "$number"), clocks $clocks"; else say "power mode unchanged, clocks $clocks"; fi

# What is put back at the end needs sudo's password no second time.
if ((EUID)); then
    while sleep 60; do sudo --non-interactive --validate || break; done </dev/null &>/dev/null 9<&- &
    keeper=$!
fi

# A process group of its own: signals from the terminal reach this script alone, which passes on each of them once.
set -m
"$@" </dev/null 9<&- &
child=$!
set +m
status=0
while :; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break
done
exit "${ending:-$status}"
