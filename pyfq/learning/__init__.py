"""Losses, training, distillation, evaluation, and removing neurons by what they contribute."""
