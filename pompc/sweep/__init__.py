"""``pompc sweep``: many runs, several at a time, resumed by the same command."""
