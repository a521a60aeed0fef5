"""What cannot be copied, and why."""


class CopyFailed(Exception):
    """A sentence: what was tried, on what, and why not."""


def of_system(path: str, error: OSError) -> CopyFailed:
    return CopyFailed(f"{path}: {(error.strerror or str(error)).lower()}")
