"""Responses -> Selectivity. Pure tensor arithmetic: nothing here knows what a model is."""

from lensloc.selectivity.effects import Discrimination, Interval, bootstrap_d, discrimination
from lensloc.selectivity.maps import Selectivity
from lensloc.selectivity.moments import Moments
from lensloc.selectivity.permutation import MaxT, max_t
from lensloc.selectivity.reliability import Reliability, paired_t_and_d, split_half, t_and_d
from lensloc.selectivity.t_tests import (
    TESTS,
    Test,
    benjamini_hochberg,
    hedges_correction,
    paired,
    summarised,
    welch,
    welch_of_moments,
)
from lensloc.units.selection import Direction, SelectionRule

__all__ = [
    "TESTS",
    "Direction",
    "Discrimination",
    "Interval",
    "MaxT",
    "Moments",
    "Reliability",
    "SelectionRule",
    "Selectivity",
    "Test",
    "benjamini_hochberg",
    "bootstrap_d",
    "discrimination",
    "hedges_correction",
    "max_t",
    "paired",
    "paired_t_and_d",
    "split_half",
    "summarised",
    "t_and_d",
    "welch",
    "welch_of_moments",
]
