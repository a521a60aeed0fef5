"""Every channel of the agent is made here."""

import grpc
import grpc.aio

from orch.identity.roles import SERVER_NAME

OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # keepalive_timeout alone is not enforced: a server that hangs would go unnoticed for a minute.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.ssl_target_name_override", SERVER_NAME),
)


def open_channel(
    address: str, *, ca: bytes, key: bytes | None = None, certificate: bytes | None = None
) -> grpc.aio.Channel:
    """To `host:port` or `unix:PATH`; believes only servers of this CA. Without a key: to join."""
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)
