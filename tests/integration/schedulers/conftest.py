"""Sites of fake schedulers: each test that takes `kind` or `make_site` runs on Slurm and on PBS."""

import os

import pytest
from support.fake_cluster.kinds import KINDS
from support.fake_cluster.site import FakeSite, nodes


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture
def make_site(tmp_path, monkeypatch):
    """Makes a site of a kind; its commands are on PATH until the test ends."""
    made: list[FakeSite] = []

    def make(kind, **options):
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        site = FakeSite(kind, folder, **{"nodes": nodes(4), **options})
        made.append(site)
        return site

    yield make
    for site in made:
        site.close()
