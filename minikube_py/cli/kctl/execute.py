"""`kctl exec`: run a command in a container, over a WebSocket, with or without a terminal.

Who calls it: `main.py`. Invariant: the remote command's exit code becomes kctl's, and the terminal is put back as it was.
Upstream: staging/src/k8s.io/client-go/tools/remotecommand (protocol v5.channel.k8s.io: the first byte of a frame says which
stream it belongs to; 255 closes one).
"""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from minikube_py.api.errors import from_status
from minikube_py.api.gvr import PODS
from minikube_py.api.meta import name_of
from minikube_py.cli.kctl.pods import container_of, pod_of
from minikube_py.cli.kctl.session import Session
from minikube_py.client.config import Credentials, ssl_context

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-c", "--container", default="")
@click.option("-i", "--stdin", "use_stdin", is_flag=True)
@click.option("-t", "--tty", "use_tty", is_flag=True)
@click.argument("words", nargs=-1, metavar="POD [-c CONTAINER] [-it] -- COMMAND...", type=click.UNPROCESSED)
@click.pass_obj
def exec_command(session: Session, container: str, use_stdin: bool, use_tty: bool, words: tuple[str, ...]) -> None:
    """Run a command in a container."""
    pod_word, command, container, use_stdin, use_tty = _parse(list(words), container, use_stdin, use_tty)
    pod = pod_of(session, pod_word)
    if use_tty and not sys.stdin.isatty():
        click.echo("Unable to use a TTY - input is not a terminal or the right kind of file", err=True)
        use_tty = False
    query = [("container", container or container_of(pod)), ("stdout", "true")]
    query += [("stdin", "true")] if use_stdin else []
    query += [("tty", "true")] if use_tty else [("stderr", "true")]
    query += [("command", word) for word in command]
    path = PODS.path(session.namespace, name_of(pod), "exec")
    sys.exit(_run(session, f"{path}?{urlencode(query)}", use_stdin, use_tty))


def _parse(words: list[str], container: str, use_stdin: bool, use_tty: bool) -> tuple[str, list[str], str, bool, bool]:
    """kubectl takes its flags before and after the pod's name; `--` starts the command."""
    pod = ""
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if word in ("-c", "--container") and words:
            container = words.pop(0)
        elif word.startswith("-") and not word.startswith("--") and set(word[1:]) <= {"i", "t"}:
            use_stdin |= "i" in word
            use_tty |= "t" in word
        elif word in ("--stdin", "--tty"):
            use_stdin |= word == "--stdin"
            use_tty |= word == "--tty"
        elif pod:
            words.insert(0, word)
            break
        else:
            pod = word
    if not pod or not words:
        raise click.UsageError("you must specify a pod and at least one command for the container: exec POD -- COMMAND")
    return pod, words, container, use_stdin, use_tty


def _run(session: Session, path: str, use_stdin: bool, use_tty: bool) -> int:
    config = session.client.config
    url = "ws" + config.server.removeprefix("http") + path
    try:
        socket = connect(
            url, ssl=ssl_context(config) if url.startswith("wss") else None, max_size=None, compression=None,
            subprotocols=[Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")],
            additional_headers=Credentials(config).headers(), open_timeout=20, user_agent_header="kctl",
        )  # fmt: skip
    except InvalidHandshake as error:
        raise _refusal(error) from None
    with socket, _raw_terminal(use_tty), _resizing(socket, use_tty):
        if use_stdin:
            threading.Thread(target=_send_input, args=(socket, not use_tty), daemon=True, name="stdin").start()
        return _receive(socket)


def _refusal(error: InvalidHandshake) -> Exception:
    response: Any = getattr(error, "response", None)
    if response is None:
        return click.ClickException(str(error))
    try:
        return from_status(json.loads(response.body), response.status_code)
    except ValueError:
        return click.ClickException(f"unable to upgrade connection: HTTP {response.status_code}")


def _receive(socket: ClientConnection) -> int:
    code = 0
    try:
        for frame in socket:
            data = frame.encode() if isinstance(frame, str) else frame
            channel, payload = data[0], data[1:]
            if channel in (_STDOUT, _STDERR):
                stream = sys.stdout if channel == _STDOUT else sys.stderr
                stream.buffer.write(payload)
                stream.flush()
            elif channel == _ERROR:
                code = _exit_code(json.loads(payload))
    except ConnectionClosed as closed:
        raise click.ClickException(f"the connection broke: {closed}") from None
    return code


def _exit_code(status: dict[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            click.echo(f"command terminated with exit code {cause['message']}", err=True)
            return int(cause["message"])
    click.echo(f"error: {status.get('message')}", err=True)
    return 1


def _send_input(socket: ClientConnection, close_at_end: bool) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while True:
            select.select([sys.stdin], [], [])
            data = os.read(sys.stdin.fileno(), 1 << 15)
            if not data:
                break
            socket.send(bytes([_STDIN]) + data)
        if close_at_end and socket.subprotocol == "v5.channel.k8s.io":
            socket.send(bytes([_CLOSE, _STDIN]))


@contextlib.contextmanager
def _raw_terminal(active: bool) -> Iterator[None]:
    if not active:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(socket: ClientConnection, active: bool) -> Iterator[None]:
    if not active:
        yield
        return

    def resize(*_: Any) -> None:
        size = shutil.get_terminal_size()
        with contextlib.suppress(ConnectionClosed):
            socket.send(bytes([_RESIZE]) + json.dumps({"Width": size.columns, "Height": size.lines}).encode())

    before = signal.signal(signal.SIGWINCH, resize)
    resize()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
