rule restore:
    input:
        inputs(mperceiver.config.restore_inputs),
        pairs=ancient("data/prepared/{dataset}.arrow"),
    output:
        card="results/restored/{method}/{dataset}.json",
        folder=directory("results/restored/{method}/{dataset}"),
    log:
        "results/logs/restore/{method}/{dataset}.log",
    benchmark:
        "results/benchmarks/restore/{method}/{dataset}.tsv"
    shell:
        "mperceiver restore {wildcards.method} {wildcards.dataset} --threads {threads} > {log} 2>&1"
