"""The parts of DiffRS learn to separate together: everything trained from nothing on small pictures."""

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")


@pytest.mark.slow
def test_a_miniature_separates_better_than_returning_the_input(tmp_path):
    import diffrs_miniature as script

    found = script.run(
        tmp_path,
        [0],
        synthesis_steps=100,
        unet_steps=400,
        pictures=16,
        sampling_steps=10,
        rows=("+C", "+C+O"),
    )
    input_t, input_r = found["input"][0]
    for row in ("autoencoder alone", "+C", "+C+O"):
        t, r = found[row][0]
        assert t > input_t, script.table(found)
        assert r > input_r, script.table(found)
