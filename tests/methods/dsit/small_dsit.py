import torch

from dereflect.methods.dsit.config import DSITConfig
from dereflect.methods.dsit.network import DSIT

SMALL = DSITConfig(
    width=8,
    swin_depths=(1, 2, 1, 1),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,
    window=4,
    resolution=64,
    attention_blocks=(2, 1, 1, 1, 1),
    gated_blocks=(1, 1, 1, 1, 1),
)


def small_dsit(seed: int = 0, config: DSITConfig = SMALL) -> DSIT:
    """A network of few channels in which nothing is zero, so that every part matters."""
    torch.manual_seed(seed)
    network = DSIT(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in ("a", "b", "a_l", "a_r"):
                parameter.normal_(0, 0.5)
            elif name.endswith("bias_table"):
                parameter.normal_()
    return network
