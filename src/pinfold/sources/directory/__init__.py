"""The source `directory`: a tree of files, read into chunks and an index, and written back."""
