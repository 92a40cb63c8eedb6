"""The `kctl` command: global flags, and a table that says which module holds which command.

Who runs it: people and labs. Invariant: only the module of the command that was typed is imported, so `kctl` starts in well
under 200 ms; every error ends as one sentence in kubectl's words with kubectl's exit code (1; a remote command's own code).
"""

import importlib
import sys
from typing import Any

import click

from minikube_py.api.errors import APIError, ServiceUnavailable
from minikube_py.cli.kctl.session import Session

COMMANDS = {
    "get": "get", "describe": "describe", "create": "apply", "apply": "apply", "delete": "deletion", "edit": "edit",
    "label": "meta", "annotate": "meta", "scale": "meta", "rollout": "rollout", "logs": "logs", "exec": "execute",
    "cordon": "nodes", "uncordon": "nodes", "drain": "nodes", "explain": "explain", "api-resources": "resources",
    "api-versions": "resources", "version": "resources", "wait": "wait", "top": "top",
}  # fmt: skip
"""Command name → module of this package that defines it (as a click command of that name, '-' written as '_')."""


class Commands(click.Group):
    """Loads a command when it is typed, and turns our errors into kubectl's one-liners."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"minikube_py.cli.kctl.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + "_command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ServiceUnavailable as error:
            click.echo(f"The connection to the server was refused or broke: {error}", err=True)
        except APIError as error:
            click.echo(f"Error from server ({error.reason}): {error}", err=True)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "kctl"
            click.echo(f"error: {error.format_message()}\nSee '{where} -h' for help and examples", err=True)
        except click.ClickException as error:
            click.echo(f"error: {error.format_message()}", err=True)
        except BrokenPipeError:
            sys.stderr.close()
        sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kubeconfig", help="The kubeconfig file to use.")
@click.option("--context", "context_name", default="", help="The context of it to use.")
@click.option("-n", "--namespace", default="", help="The namespace (default: the context's).")
@click.pass_context
def cli(ctx: click.Context, kubeconfig: str | None, context_name: str, namespace: str) -> None:
    """Talk to a Kubernetes cluster."""
    ctx.obj = Session(kubeconfig, context_name, namespace)


def main() -> None:
    """The console script: kubectl takes -n, --context and --kubeconfig anywhere, so they are moved to the front."""
    cli(args=_globals_first(sys.argv[1:]), prog_name="kctl")


_GLOBALS = ("-n", "--namespace", "--context", "--kubeconfig")


def _globals_first(arguments: list[str]) -> list[str]:
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":  # what follows belongs to a remote command
            rest += [word, *words]
        elif word in _GLOBALS:
            front += [word, next(words, "")]
        elif word.split("=")[0] in _GLOBALS or (word.startswith("-n") and not word.startswith("--") and len(word) > 2):
            front.append(word)
        else:
            rest.append(word)
    return front + rest
