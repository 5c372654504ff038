"""Evidence of Azure's confidential VMs: a paravisor's SNP report, and a quote of the vTPM that it runs."""
