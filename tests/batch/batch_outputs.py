from pathlib import Path


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file below a destination by its path, the runner's own folder apart."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "_dereflect" not in path.relative_to(folder).parts
    }
