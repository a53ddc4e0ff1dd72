"""What the Stable Diffusion stages share. The only place with torch and its kin at the top of a file."""
