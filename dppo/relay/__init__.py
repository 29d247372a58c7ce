"""`dppo relay`: a process between the actors of a host and their learner, so that a policy crosses the network once."""
