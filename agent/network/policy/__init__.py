"""Who may reach whom: what services say of themselves, as packet rules on every node."""
