"""The one conversation with the control plane: channel, conversation, outbox, and answers to users."""
