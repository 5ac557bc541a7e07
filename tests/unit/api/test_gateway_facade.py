"""Routes ask the gateway with verbs, and never reach through it; one dispatcher is made at a start."""

import ast
from pathlib import Path

import pytest

import harvester_api.routes
from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.service import parts
from harvester_api.settings import GatewaySettings

ROUTES = sorted(Path(harvester_api.routes.__file__).parent.glob("*.py"))
FACADES = {"gateway", "gateway_of", "catalog", "catalog_of", "site", "site_of", "streams", "streams_of"}


def reached_through(source: str) -> list[str]:
    """What of a facade's own parts a module touches: `gateway.store.pilots`, `site_of(request).links["p1"]`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            root = node.value.value
            root = root.func if isinstance(root, ast.Call) else root
            if isinstance(root, ast.Name) and root.id in FACADES:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", ROUTES, ids=lambda path: path.stem)
def test_a_route_has_at_most_one_dot_behind_a_facade(path):
    assert reached_through(path.read_text()) == []


@pytest.mark.parametrize("source", ["gateway.store.pilots()", "gateway_of(request).catalog.find()"])
def test_the_check_sees_what_reaches_through(source):
    assert len(reached_through(source)) == 1


async def test_a_start_makes_one_dispatcher_and_it_has_the_epoch_of_the_start(tmp_path, monkeypatch):
    made = []

    def noted(settings, epoch):
        made.append(epoch)
        return Dispatcher(settings, epoch)

    monkeypatch.setattr(parts, "Dispatcher", noted)
    store = open_store(f"sqlite:///{tmp_path}/harvester.db")
    for start in (1, 2):
        app = create_app(GatewaySettings(tokens=()), store)
        async with app.router.lifespan_context(app):
            assert made == list(range(1, start + 1))
    store.close()
