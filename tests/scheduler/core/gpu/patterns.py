"""Flows of a collective."""

from __future__ import annotations

import numpy as np

from scheduler.core.gpu.flows import Fabric, Flows


def ring(fabric: Fabric, ports: int, seed: int) -> Flows:
    """A ring over all ports in random order: one flow out of and one into each of the `ports` ports of every leaf."""
    leaves = len(fabric.plane)
    order = np.random.default_rng(seed).permutation(leaves * ports) // ports
    return Flows.of(fabric, order, np.roll(order, -1))
