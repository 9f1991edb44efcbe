"""YTMT (Hu & Guo, "Trash or Treasure?", NeurIPS 2021).

Every variant of the paper and the published old network.
"""
