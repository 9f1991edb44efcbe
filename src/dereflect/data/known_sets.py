"""The field's published data sets: names, counts, who offers them, and what is known to be wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One published data set: how to know it, what it should hold, who offers it."""

    name: str
    title: str
    aliases: tuple[str, ...]
    """Folder names that mean this set, lower case, letters and digits only."""
    pictures: int
    """How many pictures it should hold."""
    layers: str
    """Which truths it has: ``"T"``, ``"T R"`` or ``""``."""
    offered: str
    """Who made it and where they offer it."""
    faults: tuple[str, ...] = ()
    """What is known to be wrong or ambiguous about it."""


_ZHANG = "Zhang, Ng & Chen, CVPR 2018: GitHub ceciliavision/perceptual-reflection-removal"
_SIR2 = "Wan et al., ICCV 2017 (SIR2): the benchmark's page sir2data.github.io, on request"
_CEILNET = "Fan et al., ICCV 2017: GitHub fqnchina/CEILNet"

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "real20",
            "Real20: test part of Zhang et al.",
            ("real20", "real20420", "realtest", "testreal20"),
            20,
            "T",
            _ZHANG,
            (
                "papers test a copy reduced to 420 pixels (real20_420); at other sizes the numbers differ",
                "a few pairs of the original differ in size by a pixel or more",
            ),
        ),
        Layout(
            "real89",
            "Real89: training part of Zhang et al.",
            ("real89", "real90", "realtrain", "train89", "real"),
            89,
            "T",
            _ZHANG,
            ("papers say 90 pairs; 89 were published",),
        ),
        Layout(
            "nature",
            "Nature: test part of IBCLN",
            ("nature", "nature20", "naturetest", "testnature20"),
            20,
            "T",
            "Li et al., CVPR 2020: GitHub JHL-HUST/IBCLN",
            ("some published weights were trained with the 200 Nature training pairs, some were not",),
        ),
        Layout(
            "sir2-objects",
            "SIR2 Objects",
            ("solidobjectdataset", "solidobject", "objects", "object", "sir2objects"),
            200,
            "T R",
            _SIR2,
            ("the reflection was shot through black-backed glass, so T + R is not exactly I",),
        ),
        Layout(
            "sir2-postcard",
            "SIR2 Postcard",
            ("postcarddataset", "postcard", "sir2postcard"),
            199,
            "T R",
            _SIR2,
            ("199 triplets are in use; the benchmark's own text counts 200",),
        ),
        Layout(
            "sir2-wild",
            "SIR2 Wild",
            ("wildscenedataset", "wildscene", "wild", "sir2wild"),
            55,
            "T R",
            _SIR2,
            ("pictures of some triplets are shifted against each other by a pixel or so",),
        ),
        Layout(
            "real45",
            "Real45: photos of CEILNet without truth",
            ("real45", "ceilnetreal45", "testdatareflectionreal"),
            45,
            "",
            _CEILNET,
            ("no ground truth: to look at, not to measure",),
        ),
        Layout(
            "nightirs",
            "NightIRS: night scenes of DMDNet",
            ("nightirs",),
            1000,
            "T R",
            "DMDNet, AAAI 2026: GitHub fashyon/DMDNet",
        ),
        Layout(
            "ceilnet-synthetic",
            "CEILNet synthetic test set (its table 2)",
            (
                "ceilnetsynthetic",
                "testdataceilnettable2",
                "ceilnettable2",
                "synthetic100",
                "testdatareflectionsynthetictable2",
            ),
            100,
            "T R",
            _CEILNET,
        ),
    )
}
