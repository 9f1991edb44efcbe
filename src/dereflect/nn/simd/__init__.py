"""Vector code for kernels on the CPU: sixteen float32 numbers in one register."""
