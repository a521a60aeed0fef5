"""Certificates for tests of routes, and who looks at the one that is shown."""

import asyncio
import re

from agent import routing
from orch.model.names import ObjectName
from tests.kernel import routes_lab
from tests.kernel.routes_lab import Lab
from tests.support.pairs import pair

CERT = ObjectName("default", "cert")


def pem(*hosts: str) -> str:
    return routing.pem(pair(*hosts))


async def shown(lab: Lab, host: str) -> str:
    """The host in the certificate that is shown to who asks for this one."""
    context = routes_lab.trusting()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", lab.places.https_port, ssl=context, server_hostname=host
    )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    found = re.search(rb"[a-z0-9]+\.test", der)
    assert found is not None and reader is not None
    return found[0].decode()


async def https(lab: Lab, host: str, *words: str) -> str:
    port = lab.places.https_port
    return await lab.curl("-k", *words, "--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/")
