"""What the network throws while a registry is spoken to → a sentence that says what to do."""

import ssl
from types import TracebackType

from orch.oci.failure import ImageFailure, Reason


class Reaching:
    """Turns what the network throws into a sentence."""

    def __init__(self, registry: str) -> None:
        self._registry = registry

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import aiohttp

        if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            return
        raise ImageFailure(
            Reason.REGISTRY_UNREACHABLE, f"registry {self._registry} {self._sentence(error)}"
        ) from error

    def _sentence(self, error: BaseException) -> str:
        import aiohttp

        match error:
            case aiohttp.ClientConnectorCertificateError():
                return "shows a certificate that is not trusted here: add its CA to this machine"
            case aiohttp.ClientSSLError() | ssl.SSLError():
                how = f"allow it by name: --plain-http {self._registry}"
                return f"does not speak TLS: if it is meant to speak plain HTTP, {how}"
            case aiohttp.ClientConnectorDNSError():
                return "is unknown to the name service: is the name right?"
            case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
                return "does not answer (connection refused): is it running?"
            case TimeoutError():
                return "does not answer (no word in time): is it running, and is a firewall between?"
            case aiohttp.ClientConnectorError():
                why = error.os_error.strerror or str(error.os_error)
                return f"does not answer ({why.lower()}): is it running?"
            case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | ConnectionError():
                return "broke the connection off"
            case _:
                return f"cannot be talked to: {error}"
