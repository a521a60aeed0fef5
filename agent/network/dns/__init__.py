"""orch-dns: a small process of its own that answers names, and goes on while the agent restarts.

Imports the standard library only, and little of it: no asyncio, no DNS library. It lives in 9 MB where
dnspython under asyncio needs 26.
"""
