"""What the OpenAPI document allows, and much that it forbids, sent to the whole service: nothing unforeseen comes back.

Of schemathesis's checks one is left out, that what fits is accepted: no schema says what evidence is genuine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS
from tests.support.served import served

from twocvm_verifier import Policy
from twocvm_verifier.service.library import CORIM_TYPES, TOML
from twocvm_verifier.service.openapi import openapi_document
from twocvm_verifier.service.wrappers import WRAPPERS


@schemathesis.serializer("application/cmw+json", "application/cmw+cbor", TOML, *CORIM_TYPES, *WRAPPERS)
def as_it_is(_, value):
    """Send bytes as bytes, and JSON as JSON whatever its media type is called."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


SCHEMA = schemathesis.openapi.from_dict(dict(openapi_document()))
LEFT_OUT = [CHECKS.get_one("positive_data_acceptance")]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """A service of its own process."""
    with served(tmp_path_factory.mktemp("served"), policy=Policy.builtin()) as running:
        yield running.url


@SCHEMA.parametrize()
@settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_nothing_unforeseen_comes_back(case, url):
    """Every answer has a status, a media type, headers and a form that stand in the document, and no error is ours."""
    case.call_and_validate(base_url=url, excluded_checks=LEFT_OUT)
