"""What a user sees of a build: a line for each step, what it wrote below it, and how long it took."""

from typing import Any

_QUICK_SECONDS = 0.1


class Building:
    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._is_cached = False

    def line(self, progress: Any) -> str:
        """A BuildProgress message → text, perhaps none."""
        if self._quiet:
            return ""
        match progress.kind:
            case "begin":
                self._is_cached = False
                first, *rest = progress.text.splitlines() or [""]
                more = " …" if rest else ""
                place = f"[{progress.step}/{progress.steps}] " if progress.step else ""
                return f"{place}{first}{more}\n"
            case "output":
                return f"   │ {progress.text}\n"
            case "cached":
                self._is_cached = True
                return "   cached\n"
            case "done" if not self._is_cached and progress.seconds >= _QUICK_SECONDS:
                return f"   {progress.seconds:.1f} s\n"
            case _:
                return ""
