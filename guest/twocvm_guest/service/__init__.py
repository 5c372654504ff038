"""The guest's HTTP service: routes, bodies and who may call what; everything else is the agent's."""
