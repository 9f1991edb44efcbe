"""Memory of a service that has worked for a while."""

import sys

import pytest

from dereflect.web.metrics import resident_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from /proc"),
]
REQUESTS, GROWTH = 500, 40e6


def test_memory_is_steady_over_many_requests(start, picture):
    """500 photos by both ways. A photo is 180 kB: kept ones would add up to far more than is allowed."""
    with start() as server:

        def one(seed: int) -> None:
            content = picture(300, 200, seed=seed)
            if seed % 2:
                assert server.separate(content, layers="both").status_code == 200
                return
            path = f"/v1/jobs/{server.client.post('/v1/jobs', files={'image': content}).json()['id']}"
            server.wait_until(lambda: server.client.get(path).json()["state"] == "done")
            assert server.client.post(f"{path}/render").status_code == 200

        for seed in range(50):
            one(seed)
        before = resident_bytes()
        for seed in range(50, 50 + REQUESTS):
            one(seed)
        after = resident_bytes()
        assert before is not None
        assert after is not None
        assert after - before < GROWTH
