#!/usr/bin/env bash
# Importing pyopenjtalk-plus without ONNX Runtime prints a warning to standard output, not to standard error: a command whose
# output another program reads (a path, JSON) has that line in front of it. The package works all the same.
# Seen with pyopenjtalk-plus 0.4.1.post10: one line or more on stdout from `import pyopenjtalk` alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyopenjtalk-plus==0.4.1.post10
said=$("$folder/venv/bin/python" -W ignore -c 'import pyopenjtalk' 2>/dev/null)
echo "pyopenjtalk-plus 0.4.1.post10 says on stdout: ${said:-nothing}"
[ -n "$said" ] || { echo 'importing it is silent now' >&2; exit 1; }
