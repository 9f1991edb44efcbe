from dereflect.data.known_sets import LAYOUTS
from dereflect.evaluation.protocol import PROTOCOLS
from dereflect.evaluation.published import published, published_for


def test_every_printed_number_says_where_it_stands_and_is_plausible():
    assert len(published()) > 60
    for item in published():
        assert item.source
        assert item.table
        assert item.protocol in PROTOCOLS
        assert item.layer in ("transmission", "reflection")
        assert item.data in {*LAYOUTS, "sir2", "public-daytime"}
        assert 13 < item.values["psnr"] < 30
        assert all(0 < item.values.get(name, 0.5) < 1 for name in ("ssim", "lpips", "lpips_alex", "dists"))


def test_printed_numbers_are_found_by_data_set_and_layer():
    found = published_for("sir2", "reflection")
    assert {item.method for item in found} == {"YTMT", "DSRNet", "DSIT", "RDNet", "DiffRS"}
    assert {(item.data, item.layer) for item in found} == {("sir2", "reflection")}
    assert published_for("sir2", "shadow") == []
