"""What holds for all tests."""

from hypothesis import settings

# the same examples every time, and no deadline: a busy machine is no bug
settings.register_profile("dppo", derandomize=True, deadline=None)
settings.load_profile("dppo")
