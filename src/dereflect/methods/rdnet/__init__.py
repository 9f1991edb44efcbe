"""RDNet (Zhao, Li, Hu and Guo, CVPR 2025): reversible columns between a FocalNet and one decoder."""
