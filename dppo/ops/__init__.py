"""Commands of an operator: tokens, the ledger, health checks, the doctor."""
