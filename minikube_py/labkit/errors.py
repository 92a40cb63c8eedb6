"""The three ways a lab run can go wrong, because they end in three exit codes.

Who raises them: everything in labkit, checks and scenes. Who catches them: the pytest plugin and the CLI.
Invariant: `CheckFailed` is the student's (exit 1), `LabError` the caller's (exit 2), `Infrastructure` nobody's who is graded
(exit 3).
"""


class CheckFailed(AssertionError):
    """The cluster does not behave as the README asks. `look` names one place where the student can see it."""

    def __init__(self, expected: str, observed: str, look: str = "") -> None:
        super().__init__(f"expected: {expected}\nobserved: {observed}" + (f"\nlook at:  {look}" if look else ""))
        self.expected, self.observed, self.look = expected, observed, look


class LabError(Exception):
    """A lab, a working directory or a command line that makes no sense; the message is one sentence."""


class Infrastructure(Exception):
    """The cluster or the checker failed, so nothing can be said about the submission."""
