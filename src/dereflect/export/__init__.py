"""Models as files for other runtimes: ONNX, written here and run by `dereflect.methods.onnx_file`."""
