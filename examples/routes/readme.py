from hepswitch import hep_route


@hep_route
def switch(hep):
    if hep.proto_type == "RTCP":
        return hep.relay("quality")  # [destinations.quality] in the configuration
    if hep.captagent_id == 2001:
        hep.captagent_id = 42  # every chunk can be read and written
    if not hep.relay("homer"):  # one call stays on one node
        hep.store()  # nobody took it: keep it here
