"""The code that the documentation shows runs as it stands."""

import re
from pathlib import Path
from unittest.mock import patch

import pytest

from sb3_infomax.registry import AUXILIARY, REWARDS

DOCS = Path(__file__).parent.parent / "docs"
WITH_CODE = ["guide/auxiliary_losses.md", "guide/own_module.md", "guide/pacman.md"]


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    # not __main__: a class defined there could not be imported by its path
    namespace = {"__name__": "page"}
    with patch.dict(REWARDS), patch.dict(AUXILIARY):  # what a page registers goes with it
        for block in blocks:
            exec(compile(block, page, "exec"), namespace)
    assert len(blocks) > 0
