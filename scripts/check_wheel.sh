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
recipes = [item.name for item in (package / "recipes").iterdir() if item.name.endswith(".yaml")]
assert len(recipes) >= 12, recipes
for needed in ("py.typed", "recipes/default.yaml", "web/page/index.html", "methods/default/weights/model.safetensors",
               "editors/files/gimp/dereflect/dereflect.py"):
    assert (package / needed).is_file(), f"{needed} is not in the wheel"
CHECK

echo "== what it does"
cp "$photo" window.jpg
"$dereflect" separate window.jpg -o out
for layer in transmission reflection; do
  test -s "out/window_$layer.jpg" || { echo "out/window_$layer.jpg was not written"; exit 1; }
done
"$dereflect" models > models.txt
grep -q '^default ' models.txt
"$dereflect" train --help > help.txt
grep -q RECIPE help.txt

echo "== an integration is installed with the path of this command"
"$dereflect" integrations install gimp --to plug-ins > install.txt
grep -qx "$dereflect" plug-ins/dereflect/command.txt
test -x plug-ins/dereflect/dereflect.py

echo "== a packaged recipe is found by its name, and what is missing is one line"
"$dereflect" train > recipes.txt
grep -q '^default ' recipes.txt
mkdir -p data/photos && cp window.jpg data/photos/
code=0
"$dereflect" train default data=data settings.pairs=null --check 2> error.txt || code=$?
cat error.txt
test "$code" = 2
test "$(wc -l < error.txt)" = 1
grep -q "pip install 'dereflect\[train\]'" error.txt

echo "== an installed package finds its extras by its own name"
venv/bin/python -m pip install --dry-run --disable-pip-version-check 'dereflect[web]' > extra.txt
grep -q "Would install.*fastapi" extra.txt
echo "the wheel works"
