"""Inference of DMDNet with the same output in less time and memory; checked against the plain network.

Functions here take modules of the plain network and have no weights of their own.

- Chains of layers run in bands of rows, so that what is wide between them never exists as a whole.
- What both streams or both calls of the semantic branch need of depth and of the semantics is computed once.
- A 1x1 convolution after an enlargement goes before it; slots are projected before they are mixed; step sizes
  of the scan stay factors of low rank.
- In bfloat16 on a CPU, what lies between two products is one pass each (`chains`, `dereflect.nn.fused`).
"""
