"""TLS contexts of Python's own library, for what is not gRPC: the cluster's image registry."""

import os
import ssl


def show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Our certificate and key (PEM) from the next handshake on; neither touches a disk."""
    fd = os.memfd_create("orch-certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def server(certificate: bytes, key: bytes, ca: bytes) -> ssl.SSLContext:
    """Demands a certificate of this authority (all PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca.decode())
    show(context, certificate, key)
    return context


def client(certificate: bytes, key: bytes, ca: bytes) -> ssl.SSLContext:
    """Believes this authority alone (all PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca.decode())
    show(context, certificate, key)
    return context
