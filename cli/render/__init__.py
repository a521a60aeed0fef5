"""Messages → text. Pure: what time it is, and how wide the terminal is, are arguments."""
