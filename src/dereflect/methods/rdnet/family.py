"""RDNet, as the catalog knows it."""

from dereflect.methods.card import ModelCard, RemoteFile, Score
from dereflect.methods.family import Family

_PAPER = "the paper's main table, as public result trackers list it"

FAMILY = Family(
    name="rdnet",
    package=__package__,
    cards=(
        ModelCard(
            name="rdnet",
            family="rdnet",
            summary="reversible columns over a FocalNet; the authors' checkpoint of the XReflection toolbox",
            paper="arXiv 2410.08063 (CVPR 2025)",
            licence="not stated by the authors (the toolbox's README says Apache-2.0)",
            weights="fetched by  dereflect models download rdnet",
            megabytes=1256.0,
            title="RDNet, a research network of 2025",
            plain="Slow without a graphics card: many seconds for a small photo. One of the best on the "
            "field's test photos.",
            trained_on="7,643 pairs of VOC2012 pictures behind synthetic glass, 89 or 90 real pairs "
            "(Zhang et al. 2018) and 200 of Nature; backbone pretrained for detection",
            published=(
                Score("real20", 25.58, None, "rdnet", _PAPER),
                Score("sir2-objects", 26.78, None, "rdnet", _PAPER),
                Score("sir2-postcard", 26.33, None, "rdnet", _PAPER),
                Score("sir2-wild", 27.70, None, "rdnet", _PAPER),
                Score("nature", 26.21, None, "rdnet", _PAPER),
                Score(
                    "real20, sir2 and nature, mean of all 494 photos",
                    26.4849,
                    None,
                    "rdnet",
                    "the checkpoint's file name and the toolbox's README",
                ),
            ),
            files=(
                RemoteFile(
                    "weights",
                    "https://checkpoints.mingjia.li/rdnet-26.4849.ckpt",
                    3400.0,
                    "not stated",
                ),
            ),
        ),
    ),
    traced=".method:traced",
    options=".method:RDNetOptions",
    download=".method:download",
    objectives={"rdnet": ".objective:RDNetObjective"},
)
"""The file's size is not published: about 1,300 MB without the optimizer's state, 3,400 with it."""
