"""The evaluation: what the two layers cost, in the paper's four classes, reproducible by anyone.

    make evaluation                  everything; build/evaluation/plain.json and report.html
    make evaluation REDUCED=1        the same, small: three minutes on two cores
    make evaluation LABEL=snp        in an SEV-SNP guest: fills the SNP columns

A *class* is a package here that offers

    TITLE: str                                                what it is called
    def workloads(plan: Plan) -> Iterable[Workload]           what is measured, in which configurations, compared how
    def chapter(runs: Runs) -> Chapter                        its part of the report: tables, plots, what the paper says

and is named in `classes.py`. A `Workload` (`model.py`) has steps, each of which is timed, and offers: a configuration
and how to open it. Opening may raise `MissingError` with the reason why it cannot be had here; then its column is
empty and says so. What is opened is a `Candidate`: `sample()` goes through the steps once and returns a `Timing` for
each, with a digest of what was computed (equal in all configurations, or there is no ratio) and a value of it (near
enough where a configuration reorders floating point).

`measure.py` samples the candidates of a workload in turn (ABCABC), pinned to one core. `judge.py` decides which ratios
may be told. `record.py` keeps everything as JSON of `record.schema.json`; the report is made of that and nothing else.
A workload in C is one line: `standard.kernel(...)` builds it natively by two compilers in three ways, and as a
component for the bare engine and for the whole runtime.
"""
