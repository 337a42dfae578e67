"""Networks: torch alone, no modality."""
