"""HTTP from outside the cluster: what `routes:` ask for is served by HAProxy, which runs beside the agent."""
