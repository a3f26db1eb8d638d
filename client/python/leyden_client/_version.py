"""The version of the distribution, in one place that costs no import time."""

__version__ = "0.1.0"
