# digiKam > Batch Queue Manager > Custom Script, on Linux and macOS.
# digiKam puts names for $INPUT and $OUTPUT; the command stops with digiKam, which holds its standard input.
folder=$(mktemp -d)
dereflect separate $INPUT -o "$folder" --layers transmission --quiet --while - && mv "$folder"/* $OUTPUT
rm -rf "$folder"
