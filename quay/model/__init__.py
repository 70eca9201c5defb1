"""What we remember: plain functions of a transaction, `def verb(txn, …) -> frozen value`, one module for each noun."""
