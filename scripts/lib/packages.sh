# shellcheck shell=bash
# Packages of the distribution. Needs common.sh.

# present PROBE: a command that is on PATH, or a file that exists.
present() {
  if [[ $1 == /* ]]; then [[ -e $1 ]]; else command -v "$1" >/dev/null; fi
}

# need_packages PACKAGE[:PROBE]...: installs what is missing (as root, with apt), or says what to install and stops.
# Without a PROBE the package is installed unasked.
need_packages() {
  local entry missing=()
  for entry in "$@"; do
    [[ $entry == *:* ]] && present "${entry#*:}" && continue
    missing+=("${entry%%:*}")
  done
  ((${#missing[@]} == 0)) && return
  if ! command -v apt-get >/dev/null; then
    die "missing here: ${missing[*]} (the names of Debian's packages). Install them with this system's package manager, then run this again."
  elif ((EUID != 0)); then
    die "missing here. Install them, then run this again:
  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "installing packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quietly "$LITEKEEP_CACHE/logs/apt-update.log" apt-get update
  quietly "$LITEKEEP_CACHE/logs/apt-install.log" apt-get install --yes --no-install-recommends "${missing[@]}"
}
