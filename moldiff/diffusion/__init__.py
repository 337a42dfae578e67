"""The generic core of discrete diffusion: torch alone, no modality, no file, no network."""
