# shellcheck shell=bash
# Stages of scripts/test: run one after the other, none hides another, a table at the end. Needs common.sh.

stage_table=() # one line a stage: outcome, seconds, name, note
stages_failed=0

record() { # record OUTCOME SECONDS NAME [NOTE]
  stage_table+=("$(printf '%-8s %6s s  %-28s %s' "$1" "$2" "$3" "${4:-}")")
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
    stages_failed=$((stages_failed + 1))
    record FAILED $((SECONDS - started)) "$name" "exit code $status"
    printf -- '--- %s: FAILED in %s s (exit code %s)\n' "$name" $((SECONDS - started)) "$status"
  fi
}

# skip_stage NAME REASON: what was not run is said, so that nobody takes it for passed.
skip_stage() {
  printf '\n=== %s\n--- not run: %s\n' "$1" "$2"
  record 'NOT RUN' - "$1" "$2"
}

# print_summary: the table and the closing line; returns 1 when a stage failed.
print_summary() {
  local passed not_run
  passed=$(printf '%s\n' "${stage_table[@]}" | grep -c '^passed' || true)
  not_run=$(printf '%s\n' "${stage_table[@]}" | grep -c '^NOT RUN' || true)
  printf '\n=== summary\n'
  printf '%s\n' "${stage_table[@]}"
  printf '%s stages: %s passed, %s failed, %s not run, in %s s\n' \
    "${#stage_table[@]}" "$passed" "$stages_failed" "$not_run" "$SECONDS"
  ((stages_failed == 0))
}
