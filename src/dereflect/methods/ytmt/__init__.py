"""YTMT: your trash is my treasure (Hu & Guo, NeurIPS 2021), every variant of the paper and the published old
network.
"""
