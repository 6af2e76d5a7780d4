"""`penstock submit`: the jobs of a JSONL file, over HTTP or straight to Kafka, and what became of them."""
