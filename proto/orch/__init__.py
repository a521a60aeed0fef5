"""What every program of the cluster agrees on."""
