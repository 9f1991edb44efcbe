#!/usr/bin/env bash
# Install a built wheel, without extras, into an empty environment and use it from a folder far from the source:
#   scripts/check_wheel.sh dist/dereflect-*.whl
set -euo pipefail
wheel=$(realpath "$1")
photo=$(realpath "$(dirname "$0")/../examples/cafe.jpg")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check "$wheel"
dereflect=$work/venv/bin/dereflect

echo "== what the wheel holds"
venv/bin/python - <<'CHECK'
import sys
from importlib.resources import files

import dereflect

heavy = {"torch", "numpy", "PIL"} & set(sys.modules)
assert not heavy, f"`import dereflect` brings {heavy}"
package = files("dereflect")
for needed in ("py.typed", "web/page/index.html", "methods/default/weights/model.safetensors"):
    assert (package / needed).is_file(), f"{needed} is not in the wheel"
CHECK

echo "== what it does"
cp "$photo" window.jpg
"$dereflect" separate window.jpg -o out
for layer in transmission reflection; do
  test -s "out/window_$layer.jpg" || { echo "out/window_$layer.jpg was not written"; exit 1; }
done
"$dereflect" models | grep -q '^default: '
"$dereflect" train --help > help.txt
grep -q RECIPE help.txt

echo "== an installed package finds its extras by its own name"
venv/bin/python -m pip install --dry-run --disable-pip-version-check 'dereflect[web]' > extra.txt
grep -q "Would install.*fastapi" extra.txt
echo "the wheel works"
