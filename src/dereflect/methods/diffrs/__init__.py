"""DiffRS: both layers generated together by one latent diffusion model (arXiv 2606.04107).

Needs ``dereflect[diffusion]``.
"""
