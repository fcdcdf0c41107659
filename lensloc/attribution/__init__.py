"""How much every unit matters for predicting texts."""
