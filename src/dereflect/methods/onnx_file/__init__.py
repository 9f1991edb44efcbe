"""Models in ONNX files, run by onnxruntime as a method of its own; `dereflect.export` writes them."""
