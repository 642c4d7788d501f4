"""The transformer block of Stable Diffusion's U-Net."""
