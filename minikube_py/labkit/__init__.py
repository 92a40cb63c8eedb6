"""labkit: what labs are made of: loading and linting them, seeded parameters, observing a cluster, grading, self-tests.

Who uses it: `minikube-py labs`, and the checks and scenes under `labs/`. Invariant: a verdict rests on what was observed of
the running cluster; when observing itself fails, the outcome is "infrastructure", never a pass and never a zero.
"""
