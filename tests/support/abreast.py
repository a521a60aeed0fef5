"""Which tests may run beside which, when pytest has several workers (`pytest -n 2`)."""

from xdist.scheduler import LoadFileScheduling

_TOGETHER = "tests/e2e/"


class Abreast(LoadFileScheduling):
    """A free worker takes the largest file that is left. All of tests/e2e is one, for one cluster serves it."""

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER if nodeid.startswith(_TOGETHER) else super()._split_scope(nodeid)
