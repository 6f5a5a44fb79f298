"""Requests that schemathesis draws from the service's own OpenAPI, within it and against it, get what it promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

POSTED, READ = ("/forecast", "/fit", "/text"), ("/health", "/models", "/metrics")
ROUTES = [*(("POST", path) for path in POSTED), *(("GET", path) for path in READ)]
CASES = [(*route, GenerationMode.POSITIVE) for route in ROUTES]
CASES += [("POST", path, GenerationMode.NEGATIVE) for path in POSTED]  # the others take no input
# How many rows a model takes, and which characters, the schema does not say: such a request may be refused with 422.
# A body beyond the limit gets 413, which schemathesis does not count among refusals: they are checked below.
EXCLUDED = [positive_data_acceptance, negative_data_rejection]


@pytest.fixture(scope="module")
def openapi(address):
    return schemathesis.openapi.from_url(f"http://{address}/openapi.json")


def test_the_openapi_has_every_route(openapi):
    found = [result.ok() for result in openapi.get_all_operations()]
    assert {(operation.method.upper(), operation.path) for operation in found} == set(ROUTES)
    for path in POSTED:
        assert {"200", "400", "401", "408", "413", "422", "503"} <= set(
            openapi[path]["POST"].definition.raw["responses"]
        )


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_a_route_keeps_the_openapi(openapi, method, path, mode):
    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=openapi[path][method].as_strategy(generation_mode=mode))
    def kept(case):
        answer = case.call_and_validate(excluded_checks=EXCLUDED)
        assert mode is GenerationMode.POSITIVE or 400 <= answer.status_code < 500

    kept()
