"""A containerd of a profile's own, for `up --runtime cri`: started by hand below the profile's directory, like nothing else's.

Who calls it: up, down, node and image commands; tests. Invariants: images, configuration and socket are its own, so that a
containerd that runs on this machine already is neither used nor disturbed; what a restart of the machine ends lies below /run
(where paths are short enough for a socket, too); containers outlive it (their shims are processes of their own), and `up`
starts it again; `stop` leaves nothing.
Docker keeps the bridge of the pod network, and builds what is loaded here.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kubelet.runtime import cni, netns
from kubelet.runtime.base import SANDBOX, RuntimeFault, Summary
from kubelet.runtime.cri import CriRuntime
from kubelet.runtime.labels import TYPE
from minikube_py.api.clock import REAL
from minikube_py.cluster import engine, host, image_archive, images, process
from minikube_py.cluster.errors import ClusterError
from minikube_py.cluster.profile import Profile

_START_SECONDS = 30.0
_RUN = Path("/run/minikube-py")
_CONFIG = """# Written by minikube-py.
version = 2
root = "{directory}/root"
state = "{run}/state"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {restrict}
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{directory}/cni/conf"
    bin_dir = "{directory}/cni/bin"
"""


@dataclass(frozen=True)
class Containerd:
    """The containerd that lives in one directory."""

    directory: Path

    @property
    def run(self) -> Path:
        return _RUN / hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    def ensure(self) -> None:
        """Make it answer, and have the base images. Raises ClusterError."""
        if host.which("containerd") is None:
            host.install(["containerd"])
        if not self._answers():
            self._await_answer(self._start())
        with self.runtime() as runtime:
            missing = [image for image in images.BASE_IMAGES if runtime.image_status(image.name) is None]
        if missing:
            self.load([image_archive.archive(tuple(missing))])

    def _start(self) -> subprocess.Popen[bytes]:
        cni.install(self.directory / "cni/conf", self.directory / "cni/bin")
        restrict = str(not netns.may_lower_oom_score()).lower()
        self.run.mkdir(parents=True, exist_ok=True)
        config = _CONFIG.format(directory=self.directory, run=self.run, pause=images.PAUSE, restrict=restrict)
        (self.directory / "config.toml").write_text(config)
        with (self.directory / "containerd.log").open("ab") as out:
            command = [host.which("containerd") or "containerd", "-c", str(self.directory / "config.toml")]
            daemon = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self._pid_file.write_text(str(daemon.pid))
        return daemon

    @property
    def _pid_file(self) -> Path:
        return self.directory / "containerd.pid"

    def pid(self) -> int:
        """0 when it does not run."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return 0
        return pid if _is_containerd(pid) else 0

    def _answers(self) -> bool:
        try:
            with self.runtime() as runtime:
                return bool(self.pid() and runtime.info().version)
        except RuntimeFault:
            return False

    def _await_answer(self, daemon: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():  # nor is it recognised yet: its command line is empty for a moment
            if time.monotonic() > deadline or daemon.poll() is not None:
                raise ClusterError(f"containerd does not answer; see: {self.directory}/containerd.log")
            time.sleep(0.05)

    @contextmanager
    def runtime(self, profile: str = "", node: str = "") -> Iterator[CriRuntime]:
        """The runtime as the kubelet of a node sees it."""
        runtime = CriRuntime(profile, node, self.endpoint, self.directory, REAL)
        try:
            yield runtime
        finally:
            runtime.close()

    # --- images

    def load(self, archive: Iterable[bytes]) -> list[str]:
        """Import the pieces of a `docker save` archive. Out: the names it brought. Raises ClusterError."""
        command = [host.which("ctr") or "ctr", "-a", str(self.socket), "-n", "k8s.io", "images", "import", "-"]
        importer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert importer.stdin is not None and importer.stdout is not None
        with suppress(BrokenPipeError), importer.stdin as pipe:  # what it says explains why
            for piece in archive:
                pipe.write(piece)
        said = importer.stdout.read().decode(errors="replace")
        if importer.wait():
            raise ClusterError(
                f"containerd cannot import the images: {(said.strip().splitlines() or ['no reason given'])[-1]}"
            )
        return [line.split()[1] for line in said.splitlines() if line.startswith("unpacking ")]

    def load_file(self, archive: Path) -> list[str]:
        try:
            with archive.open("rb") as file:
                return self.load(iter(lambda: file.read(1 << 20), b""))
        except OSError as error:
            raise ClusterError(f"cannot read {archive}: {error.strerror}") from None

    def copy(self, name: str) -> None:
        """Bring an image over from Docker."""
        self.load(engine.connect().api.get_image(name))

    def names(self) -> list[tuple[str, int]]:
        """Every named image, with its size in bytes."""
        with self.runtime() as runtime:
            return sorted((name, image.size) for image in runtime.list_images() for name in image.names)

    # --- containers

    def remove_containers(self, profile: str, node: str) -> None:
        """Kill and remove everything of a node."""
        self._each(profile, node, lambda runtime, item: runtime.remove(item.id))

    def kill_containers(self, profile: str, node: str) -> None:
        """Kill the node's containers as a power cut would; they stay, stopped, for the node to find."""
        self._each(profile, node, lambda runtime, item: runtime.stop_sandbox(item.id))

    def _each(self, profile: str, node: str, act: Callable[[CriRuntime, Summary], None]) -> None:
        try:
            with self.runtime(profile, node) as runtime, ThreadPoolExecutor(8) as pool:
                sandboxes = [item for item in runtime.list_all() if item.labels.get(TYPE) == SANDBOX]
                list(pool.map(lambda item: act(runtime, item), sandboxes))
        except RuntimeFault as error:
            raise ClusterError(f"containerd could not end the containers of {node}: {error}") from None

    def stop(self) -> None:
        """End it and remove what it kept. Its containers have to be gone."""
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while _is_containerd(pid) and time.monotonic() < deadline:
                time.sleep(0.05)
        for directory in (self.run, self.directory):
            engine.unmount_under(directory)
            shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            _RUN.rmdir()  # the last one


def _is_containerd(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return process.alive(pid) and command.endswith(b"containerd")


def remove(profile: Profile) -> None:
    """Remove the profile's containerd and all it runs; no error when there is nothing left of it."""
    own = of(profile)
    if own.directory.joinpath("config.toml").exists():
        own.ensure()  # a containerd that was killed left its containers running: only it can end them
        for node in profile.nodes:
            own.remove_containers(profile.name, node.name)
    own.stop()


def of(profile: Profile) -> Containerd:
    directory = profile.directory / "containerd"
    directory.mkdir(parents=True, exist_ok=True)
    return Containerd(directory)
