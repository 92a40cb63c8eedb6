"""Configuration of admission plugins: the file of `--admission-control-config-file`.

Who calls it: plugins that can be configured, at each request; `main.run` once at start, so that a wrong file is said then.
Invariant: read once per process; what a plugin does not find there is {}.
Upstream: staging/src/k8s.io/apiserver/pkg/admission/config.go (AdmissionConfiguration), pod-security-admission/admission/api.
"""

from functools import cache
from pathlib import Path
from typing import Any

from apiserver.options import OptionError, Options
from minikube_py.api import yaml
from minikube_py.api.types import Obj


def of(options: Options | None, plugin: str) -> Obj:
    """The configuration of a plugin. Raises OptionError for a file that cannot be used."""
    file = getattr(options, "admission_control_config_file", "")
    return _read(file).get(plugin, {}) if file else {}


@cache
def _read(file: str) -> dict[str, Obj]:
    wanted = _load(file)
    plugins = wanted.get("plugins") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or wanted.get("kind") != "AdmissionConfiguration" or not isinstance(plugins, list):
        raise OptionError(
            f"--admission-control-config-file {file}: kind: AdmissionConfiguration with plugins is expected"
        )
    found: dict[str, Obj] = {}
    for plugin in plugins:
        if not isinstance(plugin, dict) or not plugin.get("name"):
            raise OptionError(f"--admission-control-config-file {file}: every plugin needs a name")
        at = plugin.get("path")
        inline = plugin.get("configuration") or {}
        found[plugin["name"]] = _load(str(Path(file).parent / at)) if at else inline
    return found


def _load(file: str) -> Any:
    try:
        return yaml.load(Path(file).read_bytes())
    except OSError as error:
        raise OptionError(f"--admission-control-config-file {file}: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"--admission-control-config-file {file} is not YAML: {error}") from None
