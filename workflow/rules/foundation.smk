# The card alone is the output: gigabytes of weights are not thrown away because a line of their file has changed.
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
