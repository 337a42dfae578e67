"""From a model on disk to rows that are drawn, read, checked, scored and written."""
