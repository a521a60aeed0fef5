"""Who is who: roles, keys, certificate requests, join tokens. Signing is the control plane's."""
