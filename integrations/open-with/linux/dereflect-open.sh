#!/bin/sh
# Separates the photos that a file manager passes on. A window (zenity) shows progress, and its Cancel stops the
# command; without zenity there is no window, and only a fault is told.
command='@COMMAND@'
[ -x "$command" ] || command=dereflect
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
running=$folder/running said=$folder/said code=$folder/code
: > "$running"
: > "$said"

tell() {
  if command -v zenity > /dev/null; then zenity --error --no-markup --title=dereflect --text="$1"
  elif command -v kdialog > /dev/null; then kdialog --title dereflect --error "$1"
  elif command -v notify-send > /dev/null; then notify-send dereflect "$1"
  else echo "dereflect: $1" >&2
  fi
}

(
  "$command" separate "$@" --quiet --progress json --while "$running" > /dev/null 2> "$said"
  echo $? > "$code"
) &

if command -v zenity > /dev/null; then
  while [ ! -s "$code" ]; do
    sed -n 's/^{"progress": \([0-9.]*\).*/\1/p' "$said" | tail -n 1 | awk '{ print int($1 * 99) }'
    sleep 0.2
  done | {
    zenity --progress --auto-close --title=dereflect --text='Separating reflections' || rm -f "$running"
  }
fi
wait

ended=$(cat "$code")
[ "$ended" = 0 ] || [ "$ended" = 130 ] || tell "$(grep -v '^{"progress"' "$said" | sed 's/^dereflect: //' | tail -n 1)"
exit "$ended"
