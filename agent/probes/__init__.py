"""Is it well: what to ask (http, tcp, command), when (schedule), and what the answers mean (verdict)."""
