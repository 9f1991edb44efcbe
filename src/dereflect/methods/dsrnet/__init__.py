"""DSRNet: separation by component synergy (Hu & Guo, ICCV 2023)."""
