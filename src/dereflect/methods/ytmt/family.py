"""YTMT, as the catalog knows it."""

from dereflect.methods.card import ModelCard, RemoteFile, Score
from dereflect.methods.family import Family

FAMILY = Family(
    name="ytmt",
    package=__package__,
    cards=(
        ModelCard(
            name="ytmt",
            family="ytmt",
            summary="two-stage dual-stream network UCT of Hu & Guo; the authors' checkpoint or your own",
            paper="arXiv 2110.10546 (NeurIPS 2021)",
            licence="weights: the authors' terms; VGG-19: torchvision's",
            weights="fetched by  dereflect models download ytmt",
            megabytes=308.0,
            at_work=6000,  # weights with VGG-19, and 5,600 bytes a pixel at 1024x1024
            title="YTMT, a research network of 2021",
            plain="Slower than the everyday model. Works on small photos best.",
            trained_on="7,643 pairs of VOC2012 pictures behind synthetic glass, and 89 real pairs "
            "(Zhang et al. 2018)",
            published=(Score("real20", 23.26, 0.806, "ytmt", "the paper, table 1, YTMT-UCT"),),
            files=(
                RemoteFile(
                    "weights",
                    "https://drive.google.com/file/d/1yOKFzhhFUdbKzU3eafYKFLN7AdHqW4_7/view",
                    308.0,
                    "not stated",
                    file_name="ytmt_uct_sirs_68_077_00595364.pt",
                ),
                RemoteFile(
                    "vgg",
                    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
                    575.0,
                    "torchvision's, BSD-3-Clause; trained on ImageNet",
                    sha256="dcbb9e9d",  # the digits that its name holds
                ),
            ),
        ),
    ),
    traced=".method:traced",
    options=".method:YtmtOptions",
    download=".method:download",
    objectives={"ytmt": ".objective:YtmtObjective"},
)
