"""Sources: what is guarded, and how it is read and written back."""
