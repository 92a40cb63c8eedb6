"""Programs of the machine that make and mount filesystems.

Who calls it: `persistent`, `local_path`. Invariant: a program that is missing, hangs or fails is a VolumeError that says which.
"""

import subprocess

from kubelet.errors import VolumeError


def run(*command: str, seconds: float = 60.0) -> None:
    """Run a program to its end. Raises VolumeError with what it said when it failed."""
    output(*command, seconds=seconds)


def succeeds(*command: str) -> bool:
    """Whether a program ends with 0."""
    try:
        output(*command)
    except VolumeError:
        return False
    return True


def output(*command: str, seconds: float = 60.0) -> str:
    """What a program prints. Raises VolumeError as `run`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise VolumeError(f"this machine has no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise VolumeError(f"{' '.join(command)}: no answer within {seconds:.0f} s") from None
    if done.returncode:
        why = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise VolumeError(f"{' '.join(command)}: {why}")
    return done.stdout.strip()
