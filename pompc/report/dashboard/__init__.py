"""``pompc dashboard``: runs side by side in wandb, or on a page of their own without a login."""
