"""Ways out: one file per kind of far end.

outlet     one configured destination or store: what the flow offers packets to
node       one far end of an outlet: what an operator wants it to be, and how it is
policy     which node of a set gets a packet (`balance`)
probe      a keep-alive packet that shows whether an idle node is still there
inbox      where an accepted packet is written; the node takes it from there
spool      packets on disk that wait for a node which is away or slow
flight     what a connection has sent and the far end's TCP has, or has not yet, acknowledged

A destination never blocks the flow and never raises because of its far end: it tells the route True or False, keeps
books, and logs a node's change of state once. Nothing here knows sources or routes.
"""
