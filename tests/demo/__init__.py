"""The demonstration: one cipher machine, three tenants, every refusal with its reason (`make demo`)."""
