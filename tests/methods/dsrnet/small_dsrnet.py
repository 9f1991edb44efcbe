import torch

from dereflect.methods.dsrnet.config import DSRNetConfig
from dereflect.methods.dsrnet.network import DSRNet

SMALL = DSRNetConfig(
    width=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1), residual_blocks=(1, 1)
)


def small_dsrnet(seed: int = 0, config: DSRNetConfig = SMALL) -> DSRNet:
    """A network of few channels in which nothing is zero, so that every part matters."""
    torch.manual_seed(seed)
    network = DSRNet(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in ("a", "b", "a_l", "a_r", "b_l", "b_r"):
                parameter.normal_(0, 0.5)
    return network
