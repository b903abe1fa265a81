# shellcheck shell=bash
# Python interpreters and virtual environments. Needs common.sh and packages.sh.

readonly PYTHON_OLDEST=3.11 PYTHON_NEWEST=3.13 # what ansible-core 2.19 runs on

# python_works PYTHON OLDEST NEWEST [MODULE...]: it starts (a pyenv shim may not), is in the range and has the modules.
python_works() {
  local python=$1 oldest=$2 newest=$3
  shift 3
  "$python" - "$oldest" "$newest" "$@" >/dev/null 2>&1 <<'PYTHON'
import importlib, sys
oldest, newest = (tuple(map(int, text.split("."))) for text in sys.argv[1:3])
for name in sys.argv[3:]:
    importlib.import_module(name)
sys.exit(not oldest <= sys.version_info[:2] <= newest)
PYTHON
}

# python_candidates: the commands that may be a Python, the system's own first.
python_candidates() {
  local name version
  for name in python3 python3.13 python3.12 python3.11 python3.14; do
    command -v "$name" || true
  done
  if command -v pyenv >/dev/null; then
    while IFS= read -r version; do
      printf '%s\n' "$(pyenv prefix "$version")/bin/python3"
    done < <(pyenv versions --bare 2>/dev/null | grep -E '^3\.[0-9]+\.[0-9]+$' | sort -rV)
  fi
}

# find_python OLDEST NEWEST [MODULE...]: prints the first that works, or nothing and returns 1.
find_python() {
  local candidate
  while IFS= read -r candidate; do
    if python_works "$candidate" "$@"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done < <(python_candidates)
  return 1
}

# find_venv_python: the Python for .venv; where only the part that makes environments is missing, gets that.
find_venv_python() {
  local modules=(venv ensurepip sqlite3)
  find_python "$PYTHON_OLDEST" "$PYTHON_NEWEST" "${modules[@]}" && return
  need_packages python3-venv >&2
  find_python "$PYTHON_OLDEST" "$PYTHON_NEWEST" "${modules[@]}" && return
  die "no Python from $PYTHON_OLDEST to $PYTHON_NEWEST with the modules ${modules[*]} on PATH: install one, then run this again."
}

# make_venv DIRECTORY PYTHON REQUIREMENTS: a virtual environment with exactly these requirements, made only when it
# is not there yet, was moved, or the requirements changed. The engine is importable in it, and `litekeep` a command.
make_venv() {
  local directory=$1 python=$2 requirements=$LITEKEEP_ROOT/$3 wanted stamp=$1/.installed-$3 log
  log=$LITEKEEP_CACHE/logs/pip-${directory##*/}.log
  wanted="$directory $(cat "$LITEKEEP_ROOT"/requirements*.txt "$LITEKEEP_ROOT/constraints.txt" | sha256sum)"
  if [[ -x $directory/bin/litekeep && -f $stamp && $(<"$stamp") == "$wanted" ]] && "$directory/bin/python" -c ''; then
    return
  fi
  say "making ${directory#"$LITEKEEP_ROOT"/} from $3 (log: $log)"
  # An environment that was moved or half made is not worth mending: its scripts name the old place.
  if ! grep -qsF "$directory " "$directory"/.installed-* || ! "$directory/bin/python" -c '' 2>/dev/null; then
    quietly "$log" "$python" -m venv --clear "$directory"
  fi
  quietly "$log" "$directory/bin/python" -m pip install --no-input --disable-pip-version-check -r "$requirements"
  make_command "$directory"
  printf '%s\n' "$wanted" >"$stamp"
}

make_command() {
  local directory=$1 packages
  packages=$("$directory/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$LITEKEEP_ROOT/scripts" >"$packages/litekeep.pth"
  # -P: a litekeep or json.py that lies in the current directory is not ours.
  printf '%s\n' '#!/bin/sh' "exec '${directory//\'/\'\\\'\'}/bin/python' -P -m litekeep \"\$@\"" >"$directory/bin/litekeep"
  chmod +x "$directory/bin/litekeep"
}
