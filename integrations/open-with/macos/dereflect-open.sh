#!/bin/sh
# For Automator's "Run Shell Script" with "Pass input: as arguments": separates the photos that Finder passes on.
# Automator shows in the menu bar that it runs, and can stop it; a fault is an alert.
command='@COMMAND@'
[ -x "$command" ] || command=dereflect
folder=$(mktemp -d) || exit 1
: > "$folder/running"
trap 'rm -rf "$folder"' EXIT
trap 'rm -f "$folder/running"; wait; exit 130' HUP INT TERM

"$command" separate "$@" --quiet --while "$folder/running" > /dev/null 2> "$folder/said" &
wait $!
ended=$?
if [ "$ended" != 0 ] && [ "$ended" != 130 ]; then
  osascript -e 'on run words' -e 'display alert "dereflect" message (item 1 of words) as warning' -e 'end run' \
    "$(sed 's/^dereflect: //' "$folder/said" | tail -n 1)" > /dev/null
fi
exit "$ended"
