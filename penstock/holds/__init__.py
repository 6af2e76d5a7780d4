"""`penstock hold`, `release` and `drain`: jobs that wait, are refused or end because an operator says so."""
