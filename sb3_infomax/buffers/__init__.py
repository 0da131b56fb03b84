"""What is read out of, and added to, SB3's live buffers."""
