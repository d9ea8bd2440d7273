rule foundation:
    input:
        foundation_files,
    output:
        card="data/foundations/{foundation}.json",
        folder=directory("data/foundations/{foundation}"),
    log:
        "results/logs/foundation/{foundation}.log",
    benchmark:
        "results/benchmarks/foundation/{foundation}.tsv"
    shell:
        "mperceiver foundation {wildcards.foundation} > {log} 2>&1"
