"""What a run came to: figures that can be merged, ten lines of summary, and a page."""
