"""Remedies on a terminal are commands, not requests."""

import pytest

from harvester.cli.render.remedies import told
from harvester.sdk.errors import GatewayError


def test_a_refusal_that_the_command_line_knows_names_a_command():
    error = GatewayError(404, "Unknown function", "there is no function 'x'", "name", "GET /v1/functions lists …")
    assert told(error).startswith("name: there is no function 'x' (`harvester functions` lists")


@pytest.mark.parametrize("remedy", ["POST /v1/wait waits.", "/openapi.json describes the body."])
def test_a_request_is_no_remedy_for_who_types_commands(remedy):
    assert told(GatewayError(422, "Odd", "it is odd", remedy=remedy)) == "it is odd"


def test_any_other_remedy_is_the_gateways():
    assert told(GatewayError(413, "Too large", "4 bytes", remedy="Send less.")) == "4 bytes (Send less.)"
