"""One verb a file. Each has OPTIONS, what it takes besides, and run(call)."""
