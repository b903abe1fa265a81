# shellcheck shell=bash
# Which files the linters look at. Needs common.sh.

# project_files: everything that is or could be committed, one a line.
project_files() {
  if git -C "$LITEKEEP_ROOT" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git -C "$LITEKEEP_ROOT" ls-files --cached --others --exclude-standard --deduplicate
  else # an unpacked archive
    (cd "$LITEKEEP_ROOT" && find . -type f -not -path './.venv*' -not -path './.cache/*' -not -path './.ansible/*' -printf '%P\n')
  fi
}

# scripts_for PATTERN: project files whose first line matches; templates are no scripts yet.
scripts_for() {
  local file first
  while IFS= read -r file; do
    file=$LITEKEEP_ROOT/$file
    [[ -f $file && ! -L $file && $file != *.py && $file != *.j2 ]] || continue
    IFS= read -r first 2>/dev/null <"$file" || true
    if [[ ${first:-} =~ $1 ]]; then printf '%s\n' "$file"; fi
  done < <(project_files)
}

shell_scripts() { scripts_for '^#!.*[/ ](ba)?sh( |$)|^# shellcheck shell='; }
python_scripts() { scripts_for '^#!.*python'; }
