"""Who is who on the wire: roles, keys, certificate requests and join tokens. Signing is the control plane's."""
