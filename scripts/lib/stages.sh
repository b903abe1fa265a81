# shellcheck shell=bash
# Stages of scripts/test: none hides another, a table at the end. Needs common.sh.

# One line a stage: outcome, seconds, name, note. A file, because stages beside these are in another process.
STAGE_TABLE=$(mktemp)
stages_beside= # their process, see beside
trap 'rm -f "$STAGE_TABLE"; [[ -z $stages_beside ]] || kill -- "-$stages_beside"' EXIT

record() { # record OUTCOME SECONDS NAME [NOTE]
  printf '%-8s %6s s  %-28s %s\n' "$1" "$2" "$3" "${4:-}" >>"$STAGE_TABLE"
}

# run_stage NAME COMMAND...: runs it in a subshell that stops at the first error, with no terminal to ask on.
run_stage() {
  local name=$1 started=$SECONDS status=0
  shift
  printf '\n=== %s\n' "$name"
  # Not `if ( ... )`: inside a condition bash ignores `set -e`.
  set +e
  (
    set -e
    "$@"
  ) </dev/null
  status=$?
  set -e
  if ((status == 0)); then
    record passed $((SECONDS - started)) "$name"
    printf -- '--- %s: passed in %s s\n' "$name" $((SECONDS - started))
  else
    record FAILED $((SECONDS - started)) "$name" "exit code $status"
    printf -- '--- %s: FAILED in %s s (exit code %s)\n' "$name" $((SECONDS - started)) "$status"
  fi
}

# skip_stage NAME REASON: what was not run is said, so that nobody takes it for passed.
skip_stage() {
  printf '\n=== %s\n--- not run: %s\n' "$1" "$2"
  record 'NOT RUN' - "$1" "$2"
}

# beside LOG COMMAND...: runs stages in the background; what they print goes to LOG.
beside() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  set -m # a process group of its own, so that it ends with this script, whole
  ("$@") >"$log" 2>&1 </dev/null &
  set +m
  stages_beside=$!
}

# join_beside LOG: shows what they printed, from the start, until they are done.
join_beside() {
  local status=0
  tail -n +1 --follow --pid="$stages_beside" "$1"
  wait "$stages_beside" || status=$?
  stages_beside=
  ((status == 0)) || record FAILED - "$1" "ended before its last stage (exit code $status)"
}

# print_summary: the table and the closing line; returns 1 when a stage failed.
print_summary() {
  printf '\n=== summary\n'
  awk '{print; count[$1 == "NOT" ? "not run" : $1]++}
    END {printf "%d stages: %d passed, %d failed, %d not run, in '"$SECONDS"' s\n",
      NR, count["passed"], count["FAILED"], count["not run"]; exit count["FAILED"] > 0}' "$STAGE_TABLE"
}
