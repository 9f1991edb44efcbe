"""DSIT, as the catalog knows it."""

from dereflect.methods.card import ModelCard, RemoteFile, Score
from dereflect.methods.family import Family

FAMILY = Family(
    name="dsit",
    package=__package__,
    cards=(
        ModelCard(
            name="dsit",
            family="dsit",
            summary="dual-stream transformers over a Swin-L; checkpoint of the authors' XReflection toolbox",
            paper="Hu, Wang & Guo, NeurIPS 2024",
            licence="not stated by the authors (the toolbox's README says Apache-2.0)",
            weights="fetched by  dereflect models download dsit",
            megabytes=1310.0,
            at_work=2700,  # weights, and 2,600 bytes a pixel at 768x768
            title="DSIT, a research network of 2024",
            plain="Slow without a graphics card: half a minute for a small photo. The best of the older "
            "research networks on the field's test photos.",
            trained_on="7,643 pairs of VOC2012 pictures behind synthetic glass, 89 real pairs (Zhang et al. "
            "2018), perhaps 200 of Nature; Swin-L pretrained for detection (Objects365)",
            published=(
                Score(
                    "real20, sir2 and nature, mean of all photos",
                    26.6959,
                    None,
                    "dsit",
                    "the checkpoint's file name; whether the mean is of 494 photos or of 474 is not stated",
                ),
            ),
            files=(
                RemoteFile(
                    "weights", "https://checkpoints.mingjia.li/dsit-26.6959.ckpt", 2470.0, "not stated"
                ),
            ),
        ),
    ),
    options=".method:DSITOptions",
    download=".method:download",
    objectives={"dsit": ".objective:DSITObjective"},
)
"""The file's size is not published: about 1,420 MB without the optimizer's state, 2,470 with it."""
