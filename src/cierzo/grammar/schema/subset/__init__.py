"""A mask made so that llguidance takes it, and what must stand around it in the grammar."""
