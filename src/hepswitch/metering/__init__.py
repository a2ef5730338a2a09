"""What the packets say, in numbers: who sends, which SIP, how calls go, how they sound. Measures, never decides.

- **agent**: who sends packets here: capture id, node name, address and listener (`agents`).
- **node**: an agent's label in the metrics: its node name, else its capture id in decimal.
- **target**: a name for some networks of the signalling (`[metrics.targets]`), as Homer's PromTargetName; its
  **direction** says whether it is the source or the destination of a message.
- **message**: what is counted of SIP: once for each transaction, method or status, whoever captured it and however often.
- **attempt**, **outcome**: a call that was tried, and what came of it (RFC 6076), once for each.
- **mean**: a value of the last minute or so; weight and total fade alike, so workers' means can be added up.

`meter.Meter` sees each packet that gets to the route, as it came. Not here: the exposition (`control.metrics`), the books.
"""
