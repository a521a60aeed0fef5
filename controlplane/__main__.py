"""`python -m controlplane`, and the command `orch-controlplane`."""

from controlplane.main import main

if __name__ == "__main__":
    main()
