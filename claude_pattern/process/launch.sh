#!/bin/sh
# Becomes the Claude Code CLI: given to the SDK as its cli_path, this shell replaces itself and keeps its process id.
#
#   CLAUDE_PATTERN_CLI     path of the real CLI
#   CLAUDE_PATTERN_KEEP    names of the variables that may pass, separated by spaces; everything else is taken away
#   CLAUDE_PATTERN_MARKER  always passes: it is how the process and all it starts are recognised
#
# The CLI gets a session of its own (Ctrl+C in the server's terminal does not reach it) and, on Linux, a death wish:
# the kernel kills it when the thread that started it ends, so nothing outlives a killed server. What a system lacks
# is left out; only the filter of the environment is not optional.
set -u
unset IFS # from the environment it would change how words are split

fail() {
    printf 'claude-pattern: %s\n' "$1" >&2
    exit 127
}

# Whether this process leads its group, by a line of /proc/PID/stat. It is then out of the reach of the server's
# terminal already, and setsid would fork, which would change the process id.
leads_group() {
    pid=${1%% *}
    set -- ${1##*")" }
    [ "$3" = "$pid" ]
}

has() {
    command -v "$1" >/dev/null 2>&1
}

cli=${CLAUDE_PATTERN_CLI:-}
[ -f "$cli" ] && [ -x "$cli" ] || fail 'CLAUDE_PATTERN_CLI is not an executable file'

# Names travel, values never: they would show in `ps`. awk, unlike a shell, sees every name as it is (BASH_FUNC_x%%,
# a-b, even with line breaks), and env, unlike `unset`, takes every name away, also those that are read-only in a shell.
filter='BEGIN {
    count = split(ENVIRON["CLAUDE_PATTERN_KEEP"], names, " ")
    for (i = 1; i <= count; i++) keep[names[i]]
    keep["CLAUDE_PATTERN_MARKER"]
    delete keep["CLAUDE_PATTERN_CLI"]
    delete keep["CLAUDE_PATTERN_KEEP"]
    for (name in ENVIRON) if (name != "" && !(name in keep)) {
        gsub(/\047/, "\047\"\047\"\047", name)
        printf " -u \047%s\047", name
    }
}'

# Run through setpriv, the filter also tells whether this setpriv knows --pdeathsig (busybox has one that does not).
set -- "$cli" "$@"
if has setpriv && removals=$(LC_ALL=C setpriv --pdeathsig KILL -- awk "$filter" 2>/dev/null) && [ -n "$removals" ]; then
    set -- setpriv --pdeathsig KILL -- "$@"
else
    removals=$(LC_ALL=C awk "$filter") && [ -n "$removals" ] || fail 'awk is missing: the environment cannot be filtered'
fi

if IFS= read -r stat 2>/dev/null </proc/self/stat && has setsid; then
    leads_group "$stat" || set -- setsid "$@"
elif has perl; then # macOS has no setsid
    set -- perl -e 'require POSIX; POSIX::setsid(); exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n"' -- "$@"
fi

case $1 in
*=*) set -- sh -c 'exec "$@"' sh "$@" ;; # env would take it for a variable
esac
eval "exec env$removals "'"$@"'
