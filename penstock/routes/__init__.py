"""`penstock route`: how models' traffic splits among their versions."""
