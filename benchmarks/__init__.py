"""What Darkroom costs, measured: each benchmark beside a reference that runs in the same minutes."""
