"""`penstock jobs`: jobs listed, read, awaited and canceled, over HTTP."""
