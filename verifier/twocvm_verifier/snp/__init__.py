"""AMD SEV-SNP evidence: reports, their keys' certificates, and what makes them authentic.

Pure: bytes and a time go in, values or one of our errors come out. What a report says is judged in `appraisal`.
"""
