"""Sweeps: a plan of models x contrasts x sites x protocols x lesions, cell by cell."""
