"""Node pressure: seeing it, saying so, and ending pods before the machine does."""
