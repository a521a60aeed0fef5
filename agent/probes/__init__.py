"""Is it well: what to ask (http, tcp, command), when to ask it (schedule), what the answers mean (verdict)."""
