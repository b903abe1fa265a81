# shellcheck shell=bash
# Where things are and how the scripts speak; sourced by the developer scripts after `set -euo pipefail`.

LITEKEEP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
LITEKEEP_CACHE=$LITEKEEP_ROOT/.cache
VENV=$LITEKEEP_ROOT/.venv
export LITEKEEP_ROOT LITEKEEP_CACHE VENV

# Ansible reads ansible.cfg only from the current directory, and not from one that others may write to: name it.
export ANSIBLE_CONFIG=$LITEKEEP_ROOT/ansible.cfg

# Ansible refuses to start in a locale that is not UTF-8.
[[ $(locale charmap 2>/dev/null) == UTF-8 ]] || export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: keeps the output in LOG and shows its end only when the command fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "this failed: $* (whole output: $log)"
  fi
}
