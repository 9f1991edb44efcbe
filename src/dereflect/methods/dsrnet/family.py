"""DSRNet, as the catalog knows it."""

from dereflect.methods.card import ModelCard, RemoteFile, Score
from dereflect.methods.family import Family

_TABLE = "setting without Nature's training pairs, as RDNet's tables repeat or re-ran it"
_NATURE = "setting with Nature's training pairs, as RDNet's tables repeat or re-ran it"

FAMILY = Family(
    name="dsrnet",
    package=__package__,
    cards=(
        ModelCard(
            name="dsrnet",
            family="dsrnet",
            summary="two gated streams and a residual; the authors' checkpoint of the XReflection toolbox",
            paper="arXiv 2308.10027 (ICCV 2023)",
            licence="not stated (the toolbox's README and the authors' code say Apache-2.0)",
            weights="fetched by  dereflect models download dsrnet",
            megabytes=552.0,
            at_work=2200,  # weights, and 3,000 bytes a pixel at 768x768
            title="DSRNet, a research network of 2023",
            plain="Slow without a graphics card: half a minute for a small photo.",
            trained_on="7,643 pairs of VOC2012 pictures behind synthetic glass, 89 real pairs (Zhang et al. "
            "2018) and 200 of Nature",
            published=(
                Score("real20", 24.23, 0.820, "dsrnet", _TABLE),
                Score("sir2-objects", 26.28, 0.914, "dsrnet", _TABLE),
                Score("sir2-postcard", 24.56, 0.908, "dsrnet", _TABLE),
                Score("sir2-wild", 25.68, 0.896, "dsrnet", _TABLE),
                Score("real20", 23.91, 0.818, "dsrnet", _NATURE),
                Score("sir2-objects", 26.74, 0.920, "dsrnet", _NATURE),
                Score("sir2-postcard", 24.83, 0.911, "dsrnet", _NATURE),
                Score("sir2-wild", 26.11, 0.906, "dsrnet", _NATURE),
                Score("nature", 25.22, 0.832, "dsrnet", _NATURE),
                Score(
                    "real20, sir2 and nature, mean of all photos",
                    25.8915,
                    None,
                    "dsrnet",
                    "the checkpoint's file name",
                ),
            ),
            files=(
                RemoteFile(
                    "weights", "https://checkpoints.mingjia.li/dsr-25.8915.ckpt", 1660.0, "not stated"
                ),
            ),
        ),
    ),
    traced=".method:traced",
    options=".method:DSRNetOptions",
    download=".method:download",
    objectives={"dsrnet": ".objective:DSRNetObjective"},
)
"""The file's size is not published: about 660 MB without the optimizer's state, 1,660 with it."""
