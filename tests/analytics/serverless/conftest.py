"""Puts this folder's builders on the path, and reads the real samples once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SAMPLES = "azure_functions/2019_invitro_sample"


@pytest.fixture(scope="session")
def azure_sample(shared_data: Callable[[str], Path], made_once: Callable[..., Path]) -> Callable[[int], Path]:
    """A function from 100 or 500 to that sample of Azure 2019 as a canonical trace."""
    from azure_sample import write_sample

    def make(size: int) -> Path:
        source = shared_data(f"{SAMPLES}/{size}")
        return made_once(f"azure sample {size}", lambda out: write_sample(source, out))

    return make
