"""The larger worlds are run by `make prove` only: `-m prove`, or VECD_PROVE in the environment."""

import os

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "prove: a larger world than a commit waits for")


def pytest_collection_modifyitems(config, items):
    if "prove" in (config.option.markexpr or "") or os.environ.get("VECD_PROVE"):
        return
    larger = [item for item in items if item.get_closest_marker("prove")]
    for item in larger:
        item.add_marker(pytest.mark.skip(reason="condition not met: asked for by -m prove"))
