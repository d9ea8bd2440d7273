# The only output is the card: Snakemake deletes outputs before a job, and a changed line in the foundation's file must not delete
# gigabytes of weights.
rule foundation:
    input:
        inputs(mperceiver.config.foundation_inputs),
    output:
        card="data/foundations/{foundation}.json",
    log:
        "results/logs/foundation/{foundation}.log",
    benchmark:
        "results/benchmarks/foundation/{foundation}.tsv"
    shell:
        "mperceiver foundation {wildcards.foundation} > {log} 2>&1"
