"""Published protocols on one footing: de novo design, distributions, and design from fragments."""
