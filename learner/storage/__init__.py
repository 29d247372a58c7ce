"""Files of a run: its directory, checkpoints, the journal, the audit of the ledger."""
