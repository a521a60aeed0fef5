"""Virtual addresses and published ports of services: what the kernel's tables should hold, and how it is told."""
