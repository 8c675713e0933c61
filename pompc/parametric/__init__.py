"""Parameters phi of a planner that are learned from its own values: blocks of phi, values with derivatives, steps."""
