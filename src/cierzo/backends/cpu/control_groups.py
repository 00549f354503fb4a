"""The control groups that this process is in: where containers are given less than the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, proc: Path, cgroup: Path) -> Iterator[tuple[int, Path]]:
    """(version, folder) of each, the innermost first; all of them limit it.

    `controller` is version 1's name for what is limited: cpu, memory. `proc` and `cgroup` are
    where /proc and /sys/fs/cgroup are. Folders need not exist.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            version, root = 2, cgroup
        elif controller in controllers.split(","):
            version, root = 1, cgroup / controller
            if not root.exists():  # mounted under all of its names at once
                root = cgroup / controllers
        else:
            continue
        folder = root / path.lstrip("/")
        # A container may see its own group at the root of the tree, under a path from outside.
        for group in [folder, *folder.parents]:
            if group != root and root not in group.parents:
                break
            yield version, group
