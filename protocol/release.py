"""Release of the installed package. Knows only that."""

from importlib.metadata import PackageNotFoundError, version

try:
    RELEASE = version("dppo")
except PackageNotFoundError:  # run from a checkout that was never installed
    RELEASE = "0+checkout"
