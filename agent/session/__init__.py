"""The one conversation with the control plane: channel (how), conversation (what), outbox (statuses)."""
