dereflect separate - --quiet < $INPUT > $OUTPUT || del $OUTPUT
