"""Inference of YTMT with the same output in less time and memory; checked against the plain path.

- The 1475-channel hypercolumn is never built. Resizing is linear and acts on each channel alone, so it
  commutes with the mixing of channels: each VGG level is mixed at its own resolution, once for each of the
  nine taps of the first 3x3 convolution, and the nine results are widened and added (`resized`).
- The two streams of stage one read the same input, so that their first convolutions are one.
- 1x1 convolutions next to a 3x3 convolution are multiplied into it ahead of time (`old`).
- In float32 on a CPU, 3x3 convolutions run by Winograd's algorithm; elsewhere everything is channels-last.
"""
